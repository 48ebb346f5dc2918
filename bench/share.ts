import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { cpus } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { migrate } from "../prisma/migrate.ts";
import { balanceOf } from "../src/server/ledger/accounts.ts";
import { verify } from "../src/server/ledger/verify.ts";
import { openDatabase } from "../src/server/platform/db.ts";
import { makeApp, makeKey, makeLink, makeUser } from "../src/testing/makers.ts";
import { freshDatabase, startPostgres } from "../src/testing/postgres.ts";
import { forget, type ServerProcess, startServer } from "../src/testing/server-process.ts";
import { quantile } from "./figures.ts";

/**
 * `npm run bench:share`: whether parallel requests of one wallet run. All requests start at once and
 * without an output limit of their own (the Messages API requires one), on a wallet with $1, and on
 * one with more under a limit of $1. Each costs $0.0005, markup included, and the provider takes 0.2
 * to 1 s to answer. The server runs on a real Postgres.
 *
 * Exits with 1 when fewer than 99 % succeed, when an error other than 429 came, when wallet or limit
 * were below zero or overdrawn, when the platform bore a cost, or when the books do not balance.
 */
const { values: options } = parseArgs({ options: { requests: { type: "string", default: "200" } } });
const REQUESTS = Number(options.requests);
const DOLLAR = 1_000_000n;
const COST = 500n;
const MARKUP_BPS = 2_500;

/** 400 credits without markup. */
const CHAT = { model: "gpt-4o-mini", input: 40, output: 656 };
const MESSAGES = { model: "claude-haiku-4-5", input: 50, output: 70 };
/** A common default of clients of the Messages API. */
const MAX_TOKENS = 8_192;
const CHUNKS = 20;

const provider = await startProvider();
const postgres = await startPostgres();
const fresh = await freshDatabase(postgres.url);
const db = await openDatabase({ url: fresh.url });
const wrong: string[] = [];
let server: ServerProcess | null = null;

try {
  await migrate(db);
  server = await startServer({ databaseUrl: fresh.url, upstream: provider, pages: false, env: { QUOTA_QUIET: "1" } });
  console.log(`${cpus().length} cores (${cpus()[0]?.model}), Node ${process.version}; ${REQUESTS} requests at once, each $0.0005\n`);
  console.log("                                passed   429   others   in all     median        p99   lowest free   grown");
  for (const limited of [false, true]) {
    for (const api of ["chat", "messages"] as const) {
      for (const stream of [false, true]) await run(server, { api, stream, limited });
    }
  }
  const { discrepancies } = await verify(db.sql);
  if (discrepancies.length > 0) wrong.push(`the books are not in order: ${JSON.stringify(discrepancies)}`);
  console.log(wrong.length === 0 ? "\nThe books are in order." : `\n${wrong.join("\n")}`);
} finally {
  if (server !== null) {
    await server.stop();
    await forget(server);
  }
  provider.close();
  await db.close();
  await fresh.drop();
  await postgres.stop();
}
process.exit(wrong.length === 0 ? 0 : 1);

async function run({ url }: ServerProcess, { api, stream, limited }: { api: "chat" | "messages"; stream: boolean; limited: boolean }) {
  const app = await makeApp(db, { markupBps: MARKUP_BPS });
  const key = await makeKey(db, app.id, "user");
  const person = await makeUser(db, { credits: limited ? 20n * DOLLAR : DOLLAR });
  const link = await makeLink(db, app.id, person, limited ? { monthlyLimit: DOLLAR } : {});
  const account = limited ? (link.limitId as string) : person.walletId;
  const messages = [{ role: "user", content: "Tell me of a journey, in as many words as you like." }];
  const body =
    api === "chat" ? { model: CHAT.model, stream, messages } : { model: MESSAGES.model, max_tokens: MAX_TOKENS, stream, messages };
  const path = api === "chat" ? "/v1/chat/completions" : "/v1/messages";
  const headers = { authorization: `Bearer ${key.secret}`, "x-quota-user": link.externalUserId, "content-type": "application/json" };

  let running = true;
  let lowest = DOLLAR;
  const watch = (async () => {
    for (; running; await pause(10)) {
      const { available } = await balanceOf(db.sql, account);
      if (available < lowest) lowest = available;
    }
  })();
  const startedAt = performance.now();
  const answers = await Promise.all(
    Array.from({ length: REQUESTS }, async () => {
      const sentAt = performance.now();
      const response = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
      const text = await response.text();
      return { status: response.status, text, ms: performance.now() - sentAt };
    }),
  );
  const seconds = (performance.now() - startedAt) / 1_000;
  running = false;
  await watch;

  const passed = answers.filter(({ status, text }) => status === 200 && text.includes(`"credits_used":${COST},`));
  const onHold = answers.filter(({ status, text }) => status === 429 && text.includes('"credits_on_hold"'));
  const others = answers.length - passed.length - onHold.length;
  const after = await balanceOf(db.sql, account);
  const bought = await db.prisma.usage.findMany({
    where: { appId: app.id },
    select: { id: true, base: true, markup: true, shortfall: true },
  });
  const spent = bought.reduce((sum, { base, markup }) => sum + base + markup, 0n);
  const grown = await db.prisma.holdGrowth.count({ where: { holdId: { in: bought.map(({ id }) => id) } } });

  const name = `${api === "chat" ? "chat completions" : "messages"}, ${stream ? "stream" : "JSON"}${limited ? ", limit" : ""}`;
  const figures = [
    String(passed.length).padStart(6),
    String(onHold.length).padStart(5),
    String(others).padStart(8),
    `${seconds.toFixed(1)} s`.padStart(8),
    ...[0.5, 0.99].map((part) =>
      `${Math.round(
        quantile(
          answers.map(({ ms }) => ms),
          part,
        ),
      )} ms`.padStart(10),
    ),
    `$${(Number(lowest) / 1_000_000).toFixed(4)}`.padStart(13),
    String(grown).padStart(7),
  ];
  console.log(`${name.padEnd(32)}${figures.join(" ")}`);

  if (passed.length < REQUESTS * 0.99) wrong.push(`${name}: only ${passed.length} passed`);
  const other = answers.find((each) => !passed.includes(each) && !onHold.includes(each));
  if (other !== undefined) wrong.push(`${name}: ${others} other answers, such as ${other.status} ${other.text.slice(-500)}`);
  if (lowest < 0n) wrong.push(`${name}: there were ${lowest} credits left`);
  if (after.held !== 0n || after.balance !== DOLLAR - spent) wrong.push(`${name}: ${spent} were spent and ${after.balance} are left`);
  const borne = bought.reduce((sum, { shortfall }) => sum + shortfall, 0n);
  if (borne !== 0n) wrong.push(`${name}: the platform bore ${borne} credits`);
}

/** Answers at Anthropic's and OpenAI's paths, after 0.2 to 1 s, as JSON or streamed over that time. */
async function startProvider() {
  let count = 0;
  const http = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const body = JSON.parse(Buffer.concat(parts).toString("utf8")) as { stream?: boolean };
      const isMessages = request.url?.endsWith("/messages") === true;
      // A fixed sequence between the shortest and the longest time, the same in every run.
      const ms = 200 + ((count++ * 37) % 800);
      response.on("error", () => {});
      void (body.stream === true ? stream(response, isMessages ? messageChunks() : chatChunks(), ms) : json(response, isMessages, ms));
    });
  });
  http.keepAliveTimeout = 65_000;
  await new Promise<void>((resolve) => http.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }, resolve));
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/v1`,
    key: "bench",
    close() {
      http.close();
      http.closeAllConnections();
    },
  };
}

/** A text of this many tokens. */
function words(tokens: number): string {
  return " hello".repeat(tokens);
}

async function json(response: ServerResponse, isMessages: boolean, ms: number): Promise<void> {
  await pause(ms);
  response.writeHead(200, { "content-type": "application/json" });
  const message = {
    id: "msg_bench",
    type: "message",
    role: "assistant",
    model: MESSAGES.model,
    content: [{ type: "text", text: words(MESSAGES.output) }],
    stop_reason: "end_turn",
    stop_sequence: null,
    usage: { input_tokens: MESSAGES.input, output_tokens: MESSAGES.output },
  };
  const completion = {
    id: "chatcmpl-bench",
    object: "chat.completion",
    created: 1_700_000_000,
    model: CHAT.model,
    choices: [{ index: 0, message: { role: "assistant", content: words(CHAT.output) }, logprobs: null, finish_reason: "stop" }],
    usage: chatUsage(),
  };
  response.end(JSON.stringify(isMessages ? message : completion));
}

function chatUsage() {
  return { prompt_tokens: CHAT.input, completion_tokens: CHAT.output, total_tokens: CHAT.input + CHAT.output };
}

async function stream(response: ServerResponse, chunks: readonly string[], ms: number): Promise<void> {
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const chunk of chunks) {
    await pause(ms / chunks.length);
    response.write(chunk);
  }
  response.end();
}

function chatChunks(): string[] {
  const head = { id: "chatcmpl-bench", object: "chat.completion.chunk", created: 1_700_000_000, model: CHAT.model };
  const chunk = (delta: object, finish_reason: string | null) => ({
    ...head,
    choices: [{ index: 0, delta, logprobs: null, finish_reason }],
  });
  const chunks = [
    ...Array.from({ length: CHUNKS }, (_, index) => chunk({ content: words(share(CHAT.output, index)) }, null)),
    chunk({}, "stop"),
    { ...head, choices: [], usage: chatUsage() },
  ];
  return [...chunks.map((each) => `data: ${JSON.stringify(each)}\n\n`), "data: [DONE]\n\n"];
}

function messageChunks(): string[] {
  const message = {
    id: "msg_bench",
    type: "message",
    role: "assistant",
    model: MESSAGES.model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
  };
  const events = [
    { type: "message_start", message: { ...message, usage: { input_tokens: MESSAGES.input, output_tokens: 1 } } },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    ...Array.from({ length: CHUNKS }, (_, index) => ({
      type: "content_block_delta",
      index: 0,
      delta: { type: "text_delta", text: words(share(MESSAGES.output, index)) },
    })),
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason: "end_turn", stop_sequence: null }, usage: { output_tokens: MESSAGES.output } },
    { type: "message_stop" },
  ];
  return events.map((each) => `event: ${each.type}\ndata: ${JSON.stringify(each)}\n\n`);
}

/** How many of `tokens` are in chunk number `index`. */
function share(tokens: number, index: number): number {
  return Math.floor((tokens * (index + 1)) / CHUNKS) - Math.floor((tokens * index) / CHUNKS);
}
