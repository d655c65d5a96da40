// Paints the plots in the colours of the page, and hides the runs whose boxes are not ticked.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const models = () => Bokeh.documents.flatMap((doc) => [...doc.all_models]);
  const set = (model, values) => {
    const known = Object.entries(values).filter(([name]) => name in model.properties);
    if (known.length) model.setv(Object.fromEntries(known));
  };
  const paint = () => {
    const style = getComputedStyle(document.documentElement);
    const [ink, quiet, line] = ["--ink", "--quiet", "--line"].map((name) => style.getPropertyValue(name).trim());
    for (const model of models()) {
      set(model, {
        axis_label_text_color: ink, major_label_text_color: ink, label_text_color: ink,
        axis_line_color: quiet, major_tick_line_color: quiet, minor_tick_line_color: quiet,
        grid_line_color: line, bar_line_color: null,
      });
    }
  };
  const toggle = (name, visible) => {
    for (const model of models()) if (model.name === name && "visible" in model.properties) model.visible = visible;
    for (const part of document.querySelectorAll("[data-run]")) if (part.dataset.run === name) part.hidden = !visible;
  };
  const start = () => {
    if (!(window.Bokeh && Bokeh.documents.length)) return setTimeout(start, 30);
    paint();
    dark.addEventListener("change", paint);
    for (const box of document.querySelectorAll("[data-toggle]")) {
      box.addEventListener("change", () => toggle(box.dataset.toggle, box.checked));
      if (!box.checked) toggle(box.dataset.toggle, false); // kept by the browser on reload
    }
    document.documentElement.dataset.ready = "yes";
  };
  start();
})();
