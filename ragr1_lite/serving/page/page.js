// Asks, and draws what is told. Everything from the server is text: it is set as textContent, never as markup.

const $ = (id) => document.getElementById(id);
const question = $("question"), mode = $("mode"), go = $("go"), status = $("status");
let asking = null;

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A question with what the model has said of it so far. */
class Article {
  constructor(asked) {
    this.body = make("article");
    this.thought = make("p", "thought growing", "");
    this.wish = make("p", "wish");
    this.body.append(make("h2", "", asked), this.thought);
    $("answers").prepend(this.body);
  }

  waiting() {
    this.thought.textContent = "Another question comes first. ";
  }

  text({ think, action, content }) {
    this.thought.textContent = think;
    this.wish.textContent = content;
    if (action === "search" && content) this.body.append(this.wish);
  }

  search({ think, queries, passages }) {
    this.settle(think);
    const columns = make("div", "queries");
    queries.forEach((query, index) => columns.append(column(query, passages[index])));
    this.thought = make("p", "thought growing", "");
    this.body.append(columns, this.thought);
  }

  answer({ think, answer, reason, figures, cited, held }) {
    this.settle(think);
    if (answer === null) {
      this.end("note", reason, figures);
      return;
    }
    this.end("answer", answer, figures);
    if (cited.length) this.body.append(sources(cited, held));
    markEvery(this.body, answer);
  }

  error({ detail }) {
    this.settle();
    this.end("note", detail);
  }

  /** The turn is over: what it thought stays, if anything. */
  settle(think = this.thought.textContent) {
    this.wish.remove();
    this.thought.classList.remove("growing");
    this.thought.textContent = think;
    if (!think) this.thought.remove();
  }

  end(kind, said, figures = []) {
    const box = make("div", kind);
    box.append(make("p", "said", said));
    if (figures.length) box.append(make("p", "cost", figures.join(" · ")));
    this.body.append(box);
    this.over = true;
    status.textContent = said;
  }
}

/** What holds the answer, else what was read; a page of the web is linked. */
function sources(cited, held) {
  const made = make("ul", "sources");
  made.append(make("li", "", held ? "Sources:" : "Read:"));
  for (const { text, url } of cited) {
    const one = make(url ? "a" : "span", "", text), item = make("li");
    if (url) Object.assign(one, { href: url, target: "_blank", rel: "noreferrer" });
    item.append(one);
    made.append(item);
  }
  return made;
}

function column(query, found) {
  const made = make("section", "query");
  made.append(make("h3", "", query));
  for (const { title, score, text } of found) {
    const one = make("button", "document"), head = make("span", "head");
    one.type = "button";
    one.setAttribute("aria-expanded", "false");
    one.addEventListener("click", () => {
      one.setAttribute("aria-expanded", String(one.getAttribute("aria-expanded") === "false"));
    });
    head.append(make("span", "title", title), make("span", "score", score.toFixed(1)));
    one.append(head, make("span", "text", text));
    made.append(one);
  }
  if (!found.length) made.append(make("p", "nothing", "nothing found"));
  return made;
}

/** Marks the answer, and each part of an answer that lists several, in the documents. */
function markEvery(body, answer) {
  const parts = [answer, ...answer.split(/, | and /)].map((part) => part.trim());
  const words = parts.filter((part) => part.length > 1 && !/^(yes|no)$/i.test(part));
  if (!words.length) return;
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(${escaped})(?![\\p{L}\\p{N}])`, "giu");
  for (const text of body.querySelectorAll(".title, .text")) {
    const pieces = text.textContent.split(pattern); // every second one is a match
    text.replaceChildren(...pieces.map((piece, index) => (index % 2 ? make("mark", "", piece) : piece)));
  }
}

/** Reads server-sent events from an answer's body. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const whole = (buffer + value).split("\n\n");
    buffer = whole.pop();
    for (const one of whole) {
      const [name, data] = one.split("\n");
      yield [name.slice("event: ".length), JSON.parse(data.slice("data: ".length))];
    }
  }
}

async function ask(asked) {
  asking?.abort();
  const control = new AbortController(), article = new Article(asked);
  asking = control;
  go.textContent = "Stop";
  go.classList.add("stops");
  try {
    const response = await fetch("/ask", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ question: asked, mode: mode.value }),
      signal: control.signal,
    });
    if (!response.ok) throw new Error((await response.json()).detail);
    for await (const [name, data] of events(response)) article[name](data);
    if (!article.over) throw new Error("The server has ended.");
  } catch (error) {
    const gone = error instanceof TypeError; // what fetch says of a server that cannot be reached
    article.error({ detail: control.signal.aborted ? "Stopped." : gone ? "The server has ended." : error.message });
  }
  if (asking !== control) return; // another question has been asked meanwhile
  asking = null;
  go.textContent = "Ask";
  go.classList.remove("stops");
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (question.value.trim()) ask(question.value.trim());
});

go.addEventListener("click", (event) => {
  // Enter in the question clicks too, and means the question.
  if (!asking || !(event.detail || document.activeElement === go)) return;
  event.preventDefault();
  asking.abort();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") asking?.abort();
  if (event.key === "/" && document.activeElement !== question) {
    event.preventDefault();
    question.select();
  }
});

const about = await (await fetch("/about")).json();
const passages = about.passages === null ? "" : `${about.passages.toLocaleString("en")} passages`;
const index = about.index && `index ${about.index}`;
$("about").textContent = [about.model, index, passages].filter(Boolean).join(" · ");
mode.value = about.mode;
for (const example of about.examples) {
  const button = make("button", "", example);
  button.type = "button";
  button.addEventListener("click", () => {
    question.value = example;
    ask(example);
  });
  $("examples").append(button);
}
