const themes = JSON.parse(document.getElementById("themes").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

function draw() {
  const theme = dark.matches ? "dark" : "light";
  for (const chart of document.querySelectorAll(".chart")) {
    const spec = JSON.parse(chart.nextElementSibling.textContent);
    // `ast` has expressions interpreted, which the page's policy against `eval` needs.
    vegaEmbed(chart, spec, { config: themes[theme], renderer: "svg", actions: false, ast: true,
      tooltip: { theme } }).catch(console.error);
  }
}

function filter(form) {
  const wanted = [...new FormData(form)].filter(([, value]) => value);
  let shown = 0;
  for (const article of document.querySelectorAll("article")) {
    article.hidden = wanted.some(([name, value]) => article.dataset[name] !== value);
    shown += !article.hidden;
  }
  form.querySelector("output").textContent = `${shown} shown`;
}

draw();
dark.addEventListener("change", draw);
const form = document.getElementById("filter");
if (form) {
  form.addEventListener("change", () => filter(form));
  filter(form);
}
