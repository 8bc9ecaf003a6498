// Prints the tokens that llama.cpp makes of a text, and its logarithm of each one's probability after those before it.
import { readFileSync } from "node:fs";
import { getLlama } from "node-llama-cpp";

const [gguf, text] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: 1 });
const model = await llama.loadModel({ modelPath: gguf });
const found = model.tokenize(readFileSync(text, "utf8"));
const tokens = model.tokens.shouldPrependBosToken ? [model.tokens.bos, ...found] : found;
const sequence = (await model.createContext({ contextSize: tokens.length + 8 })).getSequence();
const logs = [];
const wanted = { generateNext: { probabilities: true, options: { temperature: 0 } } };
for (let at = 0; at < tokens.length - 1; at += 16) {
  const part = tokens.slice(at, Math.min(at + 16, tokens.length - 1));
  const said = await sequence.controlledEvaluate(part.map((token) => [token, wanted]));
  said.forEach((one, i) => logs.push(Math.log(one.next.probabilities.get(tokens[at + i + 1]))));
}
console.log(JSON.stringify({ tokens, logs }));
process.exit(0);
