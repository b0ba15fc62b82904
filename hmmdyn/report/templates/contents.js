// Marks in the bar and in the contents which section is being read.
"use strict";
(() => {
  const links = [...document.querySelectorAll('.sections a, .contents a')];
  const sections = [...document.querySelectorAll("main > section")];

  function mark() {
    // The last section whose heading is in the upper third of the window, or above it.
    const line = window.innerHeight / 3;
    const above = sections.filter((section) => section.getBoundingClientRect().top <= line);
    const now = (above.at(-1) ?? sections[0]).id;
    for (const link of links)
      if (link.hash === `#${now}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
  }

  let waiting = false;
  document.addEventListener(
    "scroll",
    () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        mark();
      });
    },
    { passive: true },
  );
  mark();
})();
