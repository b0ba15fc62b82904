// Draws a figure in a frame of a notebook. plotly.js is in the notebook once, compressed, in the
// output of the cell that was first to need it; every frame unpacks it from there.
"use strict";
(async () => {
  const place = document.getElementById("figure");
  const holder = parent.document.querySelector(".hmmdyn-plotly");
  if (!holder) {
    place.textContent =
      "The figure needs the output of the cell that showed an analysis first. Run that cell again.";
    return;
  }
  const bytes = Uint8Array.from(atob(holder.textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  const { figure, themes } = JSON.parse(document.getElementById("spec").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const draw = () => {
    const layout = { ...figure.layout, template: dark.matches ? themes.dark : themes.light };
    Plotly.react(place, figure.data, layout, { responsive: true, displaylogo: false });
  };
  dark.addEventListener("change", draw);
  draw();
})();
