// Draws a figure in a frame of a notebook, which is shut off from the notebook and from all others:
// its origin is its own. plotly.js is in the notebook once, compressed, in the frame that was first
// to need it; the others ask for it by messages. Whoever answers, the policy lets nothing run but
// what has the hash of plotly.js.
"use strict";
(async () => {
  const place = document.getElementById("figure");
  const own = document.getElementById("plotly")?.textContent;
  const [WANTED, HERE] = ["hmmdyn: plotly.js wanted", "hmmdyn: plotly.js is here"];
  const others = () => Array.from({ length: parent.length }, (_, i) => parent[i]);
  const tellOthers = (what) => {
    for (const other of others()) if (other !== window) other.postMessage(what, "*");
  };

  // From another frame, whichever of the two was there first.
  const asked = () =>
    new Promise((resolve) => {
      addEventListener("message", ({ data }) => {
        if (typeof data?.plotly === "string") resolve(data.plotly);
        else if (data === HERE) tellOthers(WANTED);
      });
      tellOthers(WANTED);
      setTimeout(() => {
        place.textContent ||=
          "The figure needs the output of the cell that showed an analysis first. Run that cell again.";
      }, 5000);
    });

  if (own) {
    addEventListener("message", ({ data, source }) => {
      if (data === WANTED) source.postMessage({ plotly: own }, "*");
    });
    tellOthers(HERE);
  }
  const packed = own ?? (await asked());
  const bytes = Uint8Array.from(atob(packed.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  place.replaceChildren();
  const { figure, themes } = JSON.parse(document.getElementById("spec").textContent);
  // The notebook cannot tell the frame whether it is dark; the frame is a pixel higher where it is.
  const dark = window.matchMedia(`(min-height: ${figure.layout.height + 1}px)`);
  const draw = () => {
    document.documentElement.style.colorScheme = dark.matches ? "dark" : "light";
    const layout = { ...figure.layout, template: dark.matches ? themes.dark : themes.light };
    Plotly.react(place, figure.data, layout, { responsive: true, displaylogo: false });
  };
  dark.addEventListener("change", draw);
  draw();
})();
