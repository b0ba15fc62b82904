// Figures, rows of closed tables, scripts and plotly.js are in the page compressed. They are
// unpacked once it is painted; scripts are run as elements that the page's policy knows by their
// hashes.
"use strict";
const unpacked = (() => {
  async function text(id) {
    const packed = document.getElementById(id).textContent;
    const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function run(id) {
    const script = document.createElement("script");
    script.textContent = await text(id);
    document.head.append(script);
  }

  async function unpack() {
    unpacked.data = JSON.parse(await text("data"));
    for (const body of document.querySelectorAll("tbody[data-rows]"))
      body.innerHTML = unpacked.data.rows[body.dataset.rows];
    await run("own");
    document.dispatchEvent(new Event("unpacked"));
  }

  const painted = new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return { data: {}, plotly: painted.then(unpack).then(() => run("plotly")) };
})();
