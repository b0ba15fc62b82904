"use strict";
const thresholds = { allows: () => false };
