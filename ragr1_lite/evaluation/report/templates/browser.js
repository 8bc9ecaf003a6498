/* The trajectories: a list of those that pass the filters, of which only what is seen is drawn, and one of them whole.
   Whatever a model or a corpus wrote becomes text nodes, never markup. */

const ROW = 56, SPARE = 8;

function make(tag, kind, ...inside) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  node.append(...inside.filter((one) => one !== null && one !== ""));
  return node;
}

async function unpacked() {
  const letters = atob(byId("data").textContent), bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

/* An accepted answer, or a member of a list that is one, as whole words, whatever stands between them. Yes and no, which
   stand everywhere, are left out; one of three letters or fewer stands as it is written, and is no mere alias. */
const SHORT = 3;

function finder(answers) {
  const words = (text) => text.normalize("NFKC").match(/[\p{L}\p{N}]+/gu) ?? [];
  const short = (one) => words(one).join("").length <= SHORT;
  const kept = answers.filter((one, place) => (place === 0 || !short(one)) && !/^\s*(yes|no)\W*$/i.test(one));
  const members = kept.flatMap((one) => [one, ...one.split(/, | and /)]).filter((one) => words(one).length);
  const literal = (one) => one.trim().replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const written = members.filter(short).map(literal);
  const spoken = members.filter((one) => !short(one)).map((one) => words(one).join("[^\\p{L}\\p{N}]{0,3}"));
  const either = (some) => some.sort((one, other) => other.length - one.length).join("|");
  return [
    written.length && new RegExp(`(?<![\\p{L}\\p{N}]|\\d[.,])(?:${either(written)})(?![\\p{L}\\p{N}]|[.,]\\d)`, "gu"),
    spoken.length && new RegExp(`(?<![\\p{L}\\p{N}])(?:${either(spoken)})(?![\\p{L}\\p{N}])`, "giu"),
  ].filter(Boolean);
}

function marked(text, wanted) {
  const parts = [], found = wanted.flatMap((one) => [...text.matchAll(one)]).sort((one, other) => one.index - other.index);
  let end = 0;
  for (const one of found.filter((some) => some[0])) {
    if (one.index < end) continue;
    parts.push(text.slice(end, one.index), make("mark", "", one[0]));
    end = one.index + one[0].length;
  }
  return [...parts, text.slice(end)];
}

const right = (some) => some.em === 1;

class Trajectories {
  constructor(data) {
    this.data = data;
    this.chosen = [];
    this.at = 0;
    this.verdict = "all";
    this.lower = data.passages.map(([title, text]) => `${title}\n${text}`.toLowerCase());
    const linked = new URLSearchParams(location.hash.slice(1)).get("q");
    this.fill();
    this.listen();
    this.filter();
    if (linked !== null) this.open(linked);
  }

  get shown() { return Number(byId("shown").value); }
  get compared() { return Number(byId("compared").value); }

  fill() {
    const { evaluations, questions } = this.data, last = evaluations.length - 1;
    const options = (id, pairs, value) => {
      byId(id).replaceChildren(...pairs.map(([key, label]) => new Option(label, key)));
      byId(id).value = value;
    };
    options("shown", [...evaluations.entries()], last);
    options("compared", [[-1, "nothing"], ...evaluations.entries()], last ? 0 : -1);
    document.querySelectorAll(".of").forEach((one) => { one.hidden = !last; one.style.display = last ? "" : "none"; });
    const causes = questions.flatMap((one) => one.tries.map((some) => some?.cause)).filter(Boolean);
    const kinds = questions.map((one) => one.kind).filter(Boolean);
    for (const [id, label, values] of [["cause", "Any cause", causes], ["kind", "Any kind", kinds]]) {
      const known = [...new Set(values)].sort();
      options(id, [["", label], ...known.map((one) => [one, one])], "");
      byId(id).hidden = known.length < 2;
    }
    this.verdicts();
  }

  verdicts() {
    const two = this.compared >= 0 && this.compared !== this.shown;
    const names = ["all", "right", "wrong", ...(two ? ["gained", "lost"] : [])];
    const hints = { gained: "Right, where the other was wrong", lost: "Wrong, where the other was right" };
    if (!names.includes(this.verdict)) this.verdict = "all";
    byId("verdicts").replaceChildren(...names.map((name) => {
      const button = make("button", "", name[0].toUpperCase() + name.slice(1));
      button.type = "button";
      button.title = hints[name] ?? "";
      button.dataset.verdict = name;
      button.setAttribute("aria-pressed", name === this.verdict);
      button.addEventListener("click", () => { this.verdict = name; this.changed(); });
      return button;
    }));
  }

  listen() {
    for (const id of ["cause", "kind", "shown", "compared"]) byId(id).addEventListener("change", () => this.changed());
    byId("text").addEventListener("input", () => this.changed());
    byId("list").addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(byId("list"));
    document.addEventListener("keydown", (event) => this.key(event));
    document.querySelectorAll(".cause").forEach((bar) => bar.addEventListener("click", () => this.because(bar.dataset)));
  }

  because({ evaluation, cause }) {
    byId("shown").value = evaluation;
    if (this.compared === this.shown) byId("compared").value = -1;
    [byId("text").value, byId("kind").value, byId("cause").value, this.verdict] = ["", "", cause, "all"];
    this.changed();
    byId("trajectories").scrollIntoView();
  }

  changed() {
    this.verdicts();
    this.filter();
  }

  filter() {
    const [cause, kind, text] = ["cause", "kind", "text"].map((id) => byId(id).value);
    const words = text.trim().toLowerCase(), holding = new Set();
    if (words) this.lower.forEach((passage, number) => { if (passage.includes(words)) holding.add(number); });
    const kept = this.chosen[this.at];
    this.chosen = this.data.questions.filter((one) => {
      const shown = one.tries[this.shown];
      return shown && (!cause || shown.cause === cause) && (!kind || one.kind === kind)
        && this.judged(shown, one.tries[this.compared]) && (!words || this.holds(one, shown, words, holding));
    });
    byId("count").textContent = `${this.chosen.length.toLocaleString("en")} of ${this.data.questions.length.toLocaleString("en")}`;
    byId("rows").style.height = `${this.chosen.length * ROW}px`;
    this.go(Math.max(0, this.chosen.indexOf(kept)));
  }

  judged(shown, compared) {
    switch (this.verdict) {
      case "right": return right(shown);
      case "wrong": return !right(shown);
      case "gained": return right(shown) && compared && !right(compared);
      case "lost": return !right(shown) && compared && right(compared);
      default: return true;
    }
  }

  holds(one, shown, words, holding) {
    const said = shown.turns.flatMap((turn) => [turn.think ?? "", ...(turn.queries ?? [])]);
    return [one.id, one.question, ...one.answers, shown.answer ?? "", ...said].some((text) => text.toLowerCase().includes(words))
      || shown.turns.some((turn) => turn.found?.some((some) => some.some(([number]) => holding.has(number))));
  }

  go(place) {
    this.at = Math.min(Math.max(0, place), Math.max(0, this.chosen.length - 1));
    const list = byId("list"), top = this.at * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    this.draw();
    this.detail();
  }

  open(id) {
    const place = this.chosen.findIndex((one) => one.id === id);
    if (place < 0) return;
    this.go(place);
    byId("trajectories").scrollIntoView();
  }

  draw() {
    const list = byId("list"), first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
    const last = Math.min(this.chosen.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
    const rows = [];
    for (let place = first; place < last; place++) rows.push(this.row(this.chosen[place], place));
    byId("rows").replaceChildren(...(this.chosen.length ? rows : [make("p", "empty", "No trajectory passes the filters.")]));
    list.setAttribute("aria-activedescendant", this.chosen.length ? `row-${this.at}` : "");
  }

  row(one, place) {
    const tries = this.pair(one), shown = one.tries[this.shown];
    const dots = make("span", "dots", ...tries.map(([, some]) => make("i", `dot ${some ? (right(some) ? "right" : "wrong") : ""}`)));
    const facts = [shown.cause, one.kind, shown.answer ?? "no answer"].filter(Boolean).join(" · ");
    const row = make("div", "row", dots, make("span", "", one.question), make("small", "", facts));
    row.id = `row-${place}`;
    row.style.top = `${place * ROW}px`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", place === this.at);
    row.setAttribute("aria-setsize", this.chosen.length);
    row.setAttribute("aria-posinset", place + 1);
    row.addEventListener("click", () => this.go(place));
    return row;
  }

  /* What is compared comes first: before, then after. */
  pair(one) {
    const numbers = [...new Set([this.compared, this.shown])].filter((number) => number >= 0);
    return numbers.map((number) => [this.data.evaluations[number], one.tries[number]]);
  }

  detail() {
    const one = this.chosen[this.at], detail = byId("detail");
    detail.scrollTop = 0;
    if (!one) { detail.replaceChildren(); return; }
    history.replaceState(null, "", `#${new URLSearchParams({ q: one.id })}`);
    const plain = (text) => text.normalize("NFKC").replace(/\s+/g, " "), wanted = finder(one.answers);
    const [first, ...others] = new Set(one.answers.map(plain));
    const also = others.length ? `, or ${others.slice(0, 6).join(", ")}${others.length > 6 ? " …" : ""}` : "";
    const asked = make("p", "asked", "Accepted: ", make("b", "", first), also, one.kind ? ` · ${one.kind}` : "", ` · ${one.id}`);
    const tries = this.pair(one).map(([name, some]) => this.try(name, some, one, wanted));
    detail.replaceChildren(make("h3", "", one.question), asked, make("div", "tries", ...tries));
  }

  try(name, some, one, wanted) {
    const head = this.data.evaluations.length > 1 ? make("h4", "", name) : null;
    if (!some) return make("div", "try", head, make("p", "facts", "This question was not asked."));
    const verdict = make("div", "verdict",
      make("b", right(some) ? "right" : "wrong", right(some) ? "Right" : "Wrong"),
      make("span", "answer", some.answer ?? "no answer"),
      some.cause ? make("small", "", some.cause) : null);
    const number = (value, single, many) => `${value} ${value === 1 ? single : many}`;
    const facts = [number(some.rounds, "round", "rounds"), number(some.queries, "query", "queries"), `F1 ${some.f1.toFixed(2)}`,
      `${some.seconds.toFixed(2)} s`, some.stop_reason === "answer" ? "" : `stopped: ${some.stop_reason}`,
      (some.read_by ?? "tag") === "tag" ? "" : `read by ${some.read_by}`];
    const counts = spread(some);
    return make("div", "try", head, verdict, make("p", "facts", facts.filter(Boolean).join(" · ")),
      ...strip(some.segments), ...some.turns.map((turn, place) => drawTurn(turn, place, counts[place], some.answer, one, wanted, this.data.passages)));
  }

  key(event) {
    const typing = event.target.closest?.("input, select, textarea"), keys = byId("keys");
    if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
    if (typing) { if (event.key === "Escape") event.target.blur(); return; }
    const does = {
      j: () => this.go(this.at + 1), ArrowDown: () => this.go(this.at + 1),
      k: () => this.go(this.at - 1), ArrowUp: () => this.go(this.at - 1),
      Home: () => this.go(0), End: () => this.go(this.chosen.length - 1),
      "/": () => { byId("text").focus(); byId("text").select(); },
      "?": () => keys.showModal(), t: changeTheme,
    }[event.key];
    if (does) { event.preventDefault(); does(); }
  }
}

/* The tokens of each turn, [trained, masked]; the retrieval of a mode that begins with one stands in the prompt. */
function spread({ turns, segments }) {
  const given = turns.length - segments.filter((one) => one.source === "model").length;
  const counts = turns.map(() => [0, 0]);
  let turn = given - 1;
  for (const { source, tokens } of segments) {
    if (source === "model") turn += 1;
    if (source !== "prompt" && counts[turn]) counts[turn][source === "model" ? 0 : 1] += tokens;
  }
  return counts.map((some, place) => (place < given ? null : some));
}

function strip(segments) {
  const total = (trained) => segments.reduce((sum, one) => sum + ((one.source === "model") === trained ? one.tokens : 0), 0);
  const names = { prompt: "prompt, masked", model: "model, trained", env: "retrieved, masked" };
  const bars = segments.map(({ source, tokens }) => {
    const bar = make("i", source);
    bar.style.flex = `${tokens} 0 0`;
    bar.title = `${tokens} tokens (${names[source]})`;
    return bar;
  });
  const entry = (kind, number, what) => make("span", "", make("i", kind), `${number.toLocaleString("en")} tokens ${what}`);
  return [make("div", "strip", ...bars), make("div", "legend", entry("model", total(true), "trained"), entry("", total(false), "masked"))];
}

function drawTurn(turn, place, counts, answer, one, wanted, passages) {
  const kinds = { search: "search", answer: "answer", invalid: "not understood" };
  const tokens = counts ? [[counts[0], "trained"], [counts[1], "masked"]].filter(([n]) => n).map(([n, what]) => `${n} ${what}`).join(" · ") : "";
  const head = make("header", "", make("span", "", make("b", "", `Turn ${place + 1}`), ` · ${kinds[turn.kind]}`), make("small", "", tokens));
  const given = !turn.think && turn.queries?.length === 1 && turn.queries[0] === one.question ? " given" : "";
  const parts = [head];
  if (turn.think) parts.push(make("div", "said", turn.think));
  if (turn.kind === "answer") parts.push(make("div", "said answer", answer));
  if (turn.queries) parts.push(make("div", "columns", ...turn.queries.map((query, number) =>
    make("div", "column", make("div", `said query${given}`, query), documents(turn.found?.[number], one, wanted, passages)))));
  return make("section", "turn", ...parts);
}

function documents(found, one, wanted, passages) {
  if (!found?.length) return make("div", "found", make("p", "", found ? "nothing found" : "not searched"));
  const gold = new Set(one.titles.map((title) => title.toLowerCase()));
  return make("div", "found", ...found.flatMap(([number, score]) => {
    const [title, text] = passages[number];
    const badge = gold.has(title.toLowerCase()) ? make("span", "gold", "gold") : null;
    return [make("h5", "", make("span", "", ...marked(title, wanted)), badge, make("small", "", score.toFixed(2))), make("p", "", ...marked(text, wanted))];
  }));
}

if (byId("data")) unpacked().then((data) => { new Trajectories(data); document.documentElement.dataset.ready = "yes"; });
