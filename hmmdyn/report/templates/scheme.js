// Light or dark: as the system has it, or as the reader of this page chooses and the browser keeps.
"use strict";
const scheme = (() => {
  const KEY = "hmmdyn-theme";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const choice = document.getElementById("theme");
  const listeners = [];

  // A browser may keep nothing for a page that is opened from disk.
  function kept() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  }

  function keep(value) {
    try {
      localStorage.setItem(KEY, value);
    } catch {
      // then it holds until the page is closed
    }
  }

  function apply() {
    document.documentElement.dataset.theme = choice.value;
    listeners.forEach((listener) => listener());
  }

  choice.value = kept() ?? "system";
  if (choice.selectedIndex < 0) choice.value = "system";
  apply();
  choice.addEventListener("change", () => {
    keep(choice.value);
    apply();
  });
  dark.addEventListener("change", apply);
  return {
    get isDark() {
      return choice.value === "system" ? dark.matches : choice.value === "dark";
    },
    onChange: (listener) => listeners.push(listener),
  };
})();
