// Draws the page's figures, and again when width, colour scheme or medium change.
"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const themes = read("themes");
  const narrow = window.matchMedia("(max-width: 40rem)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)");
  const plots = [...document.querySelectorAll(".plot")];
  const config = {
    displaylogo: false,
    // Plotly's "Share chart" would send the figure to its makers' server.
    showSendToCloud: false,
    plotlyServerURL: "",
    responsive: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg" },
  };
  let printing = false;

  function draw(plot) {
    const { spec, narrowSpec } = plot.dataset;
    const { data, layout } = read(narrowSpec && narrow.matches && !printing ? narrowSpec : spec);
    layout.template = dark.matches && !printing ? themes.dark : themes.light;
    // Paper does not resize what is on it: the width must be right before it is printed.
    layout.width = printing ? plot.clientWidth : undefined;
    // A finger scrolls the page; it must not be caught by zooming.
    if (touch.matches) layout.dragmode = false;
    plot.style.minHeight = `${layout.height}px`;
    Plotly.react(plot, data, layout, config);
  }
  const drawAll = () => plots.forEach(draw);

  function print(begins) {
    printing = begins;
    document.body.classList.toggle("printing", begins);
    drawAll();
    if (!begins) plots.forEach((plot) => Plotly.Plots.resize(plot));
  }

  drawAll();
  narrow.addEventListener("change", () =>
    plots.filter((plot) => plot.dataset.narrowSpec).forEach(draw),
  );
  dark.addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
})();
