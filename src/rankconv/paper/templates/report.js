"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures");
  const dark = new Map(read("colours"));
  const root = document.documentElement;
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const store = {
    get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("theme", value); } catch { /* not kept */ } },
  };

  // The figures are stored in the colours of a light ground.
  const coloured = (value) => {
    if (typeof value === "string") return dark.get(value) ?? value;
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v)]));
    return value;
  };

  const height = (figure, width) => {
    const { data, layout } = figure;
    const narrow = width < 480;
    if (data[0].type === "heatmap") {
      const across = layout.xaxis.range[1] - layout.xaxis.range[0];
      const down = layout.yaxis.range[0] - layout.yaxis.range[1];
      return Math.round((Math.min(width, 980) * down) / across) + (layout.sliders ? 125 : 30);
    }
    if (layout.yaxis.range?.[0] > layout.yaxis.range?.[1]) {
      const rows = new Set(data.flatMap((trace) => trace.y)).size;
      return 70 + rows * (narrow ? 36 : 40);
    }
    const entries = layout.showlegend === false ? 0 : data.length;
    const longest = Math.max(0, ...data.map((trace) => (trace.name ?? "").length));
    const columns = Math.max(1, Math.floor(width / (longest * 6.6 + 44)));
    return (narrow ? 270 : 330) + Math.ceil(entries / columns) * 21;
  };

  const draw = (box) => {
    const figure = figures[box.dataset.figure];
    const width = box.clientWidth;
    const { data, layout } = root.dataset.theme === "dark" ? coloured(figure) : structuredClone(figure);
    layout.height = height(figure, width);
    layout.width = width;
    layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
    if (width < 480) {
      layout.font.size = 11;
      for (const trace of data) // too close to each other here; the legend names them
        if (trace.mode === "markers+text" && trace.marker.symbol !== "circle") trace.mode = "markers";
    }
    // A slider keeps its place when the page is drawn anew.
    if (layout.sliders && box.layout?.sliders) {
      const active = box.layout.sliders[0].active;
      layout.sliders[0].active = active;
      const [traces, parts] = layout.sliders[0].steps[active].args;
      data[0].z = traces.z[0];
      layout.annotations = parts.annotations;
    }
    box.dataset.width = width;
    return Plotly.react(box, data, layout, {
      displaylogo: false,
      displayModeBar: "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
      toImageButtonOptions: { format: "svg", filename: box.dataset.figure },
    });
  };

  const boxes = [...document.querySelectorAll(".plot")];
  const theme = (name) => {
    root.dataset.theme = name;
    return Promise.all(boxes.map(draw));
  };
  document.getElementById("theme").addEventListener("click", () => {
    const next = root.dataset.theme === "dark" ? "light" : "dark";
    store.set(next);
    theme(next);
  });
  preferred.addEventListener("change", (event) => {
    if (!store.get()) theme(event.matches ? "dark" : "light");
  });

  let waiting;
  new ResizeObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      for (const box of boxes) if (Number(box.dataset.width) !== box.clientWidth) draw(box);
    }, 120);
  }).observe(document.querySelector("main"));

  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries)
      if (entry.isIntersecting) {
        for (const link of links.values()) link.classList.remove("here");
        links.get(entry.target.id)?.classList.add("here");
      }
  }, { rootMargin: "-30% 0px -65% 0px" });
  for (const section of document.querySelectorAll("main > section")) seen.observe(section);

  theme(store.get() ?? (preferred.matches ? "dark" : "light")).then(() => {
    root.dataset.drawn = String(boxes.length);
  });
})();
