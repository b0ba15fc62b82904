// Buttons that copy: a piece of code, a table as CSV or Markdown, the link to what is chosen.
"use strict";
(() => {
  const status = document.getElementById("copied");

  for (const search of document.querySelectorAll(".data .search")) {
    const buttons = document.createElement("span");
    buttons.className = "copies";
    for (const [what, name] of [["csv", "Copy as CSV"], ["markdown", "Copy as Markdown"]]) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: name }).dataset.copy = what;
      buttons.append(button, " ");
    }
    search.append(buttons);
  }

  // Rows as they are shown, in their order, without those that a search or a group leaves out.
  function cells(table) {
    const rows = [...table.rows].filter((row) => !row.hidden);
    return rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
  }

  // As in the files: a text that a spreadsheet would run as a formula has an apostrophe before it.
  const inert = (text) => (/^\s*([=@]|[+-](?!\d*\.?\d*(e[+-]?\d+)?$))/i.test(text) ? `'${text}` : text);
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  // Numbers without the marks that they are written with for people.
  const plain = (text) => (/^−?[\d,]+(\.\d+)?(e.*)?$/.test(text) ? text.replace("−", "-").replaceAll(",", "") : text);
  const csv = (rows) => rows.map((row) => row.map((text) => quoted(inert(plain(text)))).join(",")).join("\n");

  function markdown([head, ...rows]) {
    const line = (texts) => `| ${texts.join(" | ")} |`;
    const safe = (text) => text.replaceAll("\\", "\\\\").replaceAll("|", "\\|").replace(/\s+/g, " ");
    return [head, head.map(() => "---"), ...rows.map((row) => row.map(safe))].map(line).join("\n");
  }

  function text(button) {
    const what = button.dataset.copy;
    if (what === "link") return location.href;
    if (what.startsWith("#")) return document.querySelector(what).textContent;
    const rows = cells(button.closest(".data").querySelector("table"));
    return what === "csv" ? csv(rows) : markdown(rows);
  }

  // Where pages from disk may not write to the clipboard, what a selection copies still can.
  function byHand(value) {
    const area = document.createElement("textarea");
    area.value = value;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }

  async function copy(button) {
    const value = text(button);
    let done = true;
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      done = byHand(value);
      button.focus();
    }
    status.textContent = done ? "Copied." : "This browser does not let pages copy.";
    setTimeout(() => (status.textContent = ""), 2000);
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest?.("button[data-copy]");
    if (button) copy(button);
  });
})();
