import { createServer } from "node:http";

/**
 * The benchmark's provider: OpenAI-compatible, and it answers at once, so that the measured time
 * is the gateway's.
 */
const answer = JSON.stringify({
  id: "chatcmpl-bench",
  object: "chat.completion",
  created: 1_700_000_000,
  model: "gpt-4o-mini",
  choices: [
    {
      index: 0,
      message: { role: "assistant", content: "Hello! How can I help you today?", refusal: null },
      logprobs: null,
      finish_reason: "stop",
    },
  ],
  usage: { prompt_tokens: 9, completion_tokens: 10, total_tokens: 19, prompt_tokens_details: { cached_tokens: 0 } },
});
const CHUNKS = 50;
const head = { id: "chatcmpl-bench", object: "chat.completion.chunk", created: 1_700_000_000, model: "gpt-4o-mini" };
const chunk = (delta: object, finish: string | null) =>
  Buffer.from(
    `data: ${JSON.stringify({ ...head, choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }], usage: null })}\n\n`,
  );
const chunks = [
  ...Array.from({ length: CHUNKS - 3 }, (_, index) => chunk({ content: ` word${index}` }, null)),
  chunk({}, "stop"),
  Buffer.from(
    `data: ${JSON.stringify({ ...head, choices: [], usage: { prompt_tokens: 9, completion_tokens: 47, total_tokens: 56 } })}\n\n`,
  ),
  Buffer.from("data: [DONE]\n\n"),
];

const server = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on("data", (part: Buffer) => parts.push(part));
  request.on("end", () => {
    if (!Buffer.concat(parts).includes('"stream":true')) {
      response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(answer) });
      response.end(answer);
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    let next = 0;
    // One chunk for each turn of the event loop, as tokens arrive one by one.
    const write = () => {
      const piece = chunks[next++];
      if (piece === undefined) return void response.end();
      response.write(piece);
      setImmediate(write);
    };
    write();
  });
});
server.keepAliveTimeout = 65_000;
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (address !== null && typeof address === "object") process.send?.({ port: address.port });
});
