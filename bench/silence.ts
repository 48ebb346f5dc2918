import { fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, request } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { migrate } from "../prisma/migrate.ts";
import { verify } from "../src/server/ledger/verify.ts";
import { openDatabase } from "../src/server/platform/db.ts";
import { makeApp, makeKey, makeLink, makeUser } from "../src/testing/makers.ts";
import { freePort, freshDatabase, startPostgres } from "../src/testing/postgres.ts";
import { quantile } from "./figures.ts";

/**
 * `npm run bench:silence`: how much one key can delay other clients. Each case sends the worst known requests of its
 * kind, all at once, to a server with a scripted provider, while /healthz is requested every 10 ms. Prints the times
 * of /healthz and the longest time that the server's main thread was busy without a pause. `--entry` is the main.ts
 * of another build with the same migrations (for an older one run a copy of this file there), `--only` a part of a
 * case's name. Exits with 1 when the main thread was busy for more than 250 ms.
 */
const { values: options } = parseArgs({
  options: {
    entry: { type: "string", default: fileURLToPath(new URL("../src/server/main.ts", import.meta.url)) },
    only: { type: "string", default: "" },
    "case-seconds": { type: "string", default: "60" },
  },
});
const MOST_MS = 250;
const here = path.dirname(fileURLToPath(import.meta.url));
const folder = await mkdtemp(path.join(tmpdir(), "quota-silence-"));
const postgres = await startPostgres();
const fresh = await freshDatabase(postgres.url);
const upstream = createServer((incoming, outgoing) => void answer(incoming).then((go) => go(outgoing)));
await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
const port = await freePort();
const server = fork(options.entry, [], {
  env: {
    ...process.env,
    NODE_ENV: "production",
    PORT: String(port),
    DATABASE_URL: fresh.url,
    QUOTA_DATA_DIR: folder,
    QUOTA_DEMO: "0",
    QUOTA_QUIET: "1",
    QUOTA_SIMULATOR_TOKENS_PER_SECOND: "0",
    QUOTA_RATE_LIMIT_PER_MINUTE: "1000000000",
    OPENAI_API_KEY: "bench",
    OPENAI_BASE_URL: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}/v1`,
  },
  execArgv: ["--import", path.join(here, "turns.ts"), "--import", path.join(here, "../src/testing/without-pages.ts")],
  stdio: ["ignore", "ignore", "ignore", "ipc"],
});

try {
  await main();
} finally {
  server.kill("SIGKILL");
  upstream.closeAllConnections();
  upstream.close();
  await fresh.drop();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
}

type Case = { name: string; attack(): Promise<string> };

async function main(): Promise<void> {
  const db = await openDatabase({ url: fresh.url });
  await migrate(db);
  const app = await makeApp(db);
  const key = (await makeKey(db, app.id, "user")).secret;
  const test = (await makeKey(db, app.id, "test")).secret;
  // Enough that the prompt's tokens are counted, and not enough to pay for them.
  const poor = (await makeLink(db, app.id, await makeUser(db, { credits: 5_000n }), { externalUserId: "poor" })).externalUserId;
  const rich = (await makeLink(db, app.id, await makeUser(db, { credits: 1_000_000_000n }), { externalUserId: "rich" })).externalUserId;
  await ready();
  const poll = new Worker(path.join(here, "poll.ts"), { workerData: port });
  console.log(`${cpus().length} cores (${cpus()[0]?.model}), Node ${process.version}; /healthz is asked every 10 ms`);
  console.log(`${"".padEnd(58)} /healthz median   p99   worst    worst turn of the main thread`);

  const chat = (content: string, rest: object = {}) =>
    JSON.stringify({ model: "gpt-4o-mini", max_tokens: 100, messages: [{ role: "user", content }], ...rest });
  const many = (count: number, key: string, user: string | null, door: string, body: string) => async () =>
    tally(await Promise.all(Array.from({ length: count }, () => post(door, key, user, body))));
  const door = "/v1/chat/completions";
  const members = (count: number) => `{${Array.from({ length: count }, (_, at) => `"key${at}":1`).join(",")}}`;
  const tokens = JSON.stringify(Array.from({ length: 2_000 }, () => Array.from({ length: 150 }, (_, at) => 100_000 + at)));
  const nested = `{"model":"gpt-4o-mini","messages":${"[".repeat(4_900_000)}${"]".repeat(4_900_000)}}`;

  const cases: Case[] = [
    { name: "nothing", attack: () => new Promise((resolve) => setTimeout(() => resolve(""), 2_000)) },
    { name: "60 prompts of 140,000 Chinese characters, too dear", attack: many(60, key, poor, door, chat("漢字".repeat(70_000))) },
    { name: "60 prompts of 500,000 times one letter, too dear", attack: many(60, key, poor, door, chat("a".repeat(500_000))) },
    {
      name: "100 streams hung up at once, 100,000 characters each",
      attack: () => hangUp(100, key, rich, chat("漢字".repeat(50_000), { stream: true })),
    },
    { name: "8 bodies of 9.8 MB of nesting, with a test key", attack: many(8, test, rich, door, nested) },
    {
      name: "8 bodies of 700,000 names, with a test key",
      attack: many(8, test, rich, door, chat("hi", { metadata: JSON.parse(members(700_000)) })),
    },
    {
      name: "40 bodies of 49,000 names, with a test key",
      attack: many(40, test, rich, door, chat("hi", { metadata: JSON.parse(members(49_000)) })),
    },
    { name: "20 bodies of 9 MB of text, with a test key", attack: many(20, test, rich, door, chat("word ".repeat(1_800_000))) },
    {
      name: "20 embeddings of 300,000 tokens",
      attack: many(20, key, rich, "/v1/embeddings", `{"model":"text-embedding-3-small","input":${tokens}}`),
    },
    {
      name: "4 times 128 long choices of the simulator",
      attack: many(4, test, rich, door, chat("simulate: long 32768", { n: 128, max_tokens: 16_384 })),
    },
    {
      name: "8 times log probabilities of the simulator",
      attack: many(8, test, rich, door, chat("simulate: long 2300", { logprobs: true, top_logprobs: 20, max_tokens: 16_384 })),
    },
    {
      name: "8 times 81 embeddings of the simulator",
      attack: many(
        8,
        test,
        rich,
        "/v1/embeddings",
        JSON.stringify({ model: "text-embedding-3-large", input: Array.from({ length: 81 }, () => "word ".repeat(5_000)) }),
      ),
    },
    { name: "400 requests half sent", attack: () => halfSent(400, key) },
  ];
  for (const { name, attack } of cases.filter((each) => each.name.includes(options.only))) {
    await figures(poll);
    const began = performance.now();
    const said = await Promise.race([
      attack(),
      new Promise<string>((resolve) => setTimeout(() => resolve("still running"), Number(options["case-seconds"]) * 1_000)),
    ]);
    const seconds = (performance.now() - began) / 1_000;
    const { times, worstTurnMs } = await figures(poll);
    const ms = (value: number) => `${value.toFixed(0)} ms`.padStart(8);
    console.log(
      `${name.padEnd(58)} ${ms(quantile(times, 0.5))} ${ms(quantile(times, 0.99))} ${ms(Math.max(...times))}   ${ms(worstTurnMs)}   ${seconds.toFixed(1)} s  ${said}`,
    );
    if (worstTurnMs > MOST_MS) process.exitCode = 1;
  }
  await poll.terminate();
  const stopped = new Promise((resolve) => server.once("exit", resolve));
  server.kill("SIGTERM");
  await stopped;
  const books = await verify(db.sql);
  console.log(
    `\n${books.usages} requests billed; the books are ${books.ok ? "in order" : `NOT in order: ${JSON.stringify(books.discrepancies.slice(0, 5))}`}.`,
  );
  if (!books.ok) process.exitCode = 1;
  await db.close();
}

async function figures(poll: Worker): Promise<{ times: number[]; worstTurnMs: number }> {
  const times = new Promise<number[]>((resolve) => poll.once("message", resolve));
  poll.postMessage("times");
  const turns = new Promise<{ worstTurnMs: number }>((resolve) => {
    const hear = (said: unknown) => {
      // The server sends other messages too.
      if (typeof said !== "object" || said === null || !("worstTurnMs" in said)) return;
      server.off("message", hear);
      resolve(said as { worstTurnMs: number });
    };
    server.on("message", hear);
  });
  server.send("turns");
  return { times: await times, ...(await turns) };
}

/** How often each status occurred. */
function tally(statuses: readonly number[]): string {
  const counts = new Map<number, number>();
  for (const status of statuses) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => `${count} × ${status === 0 ? "cut off" : status}`).join(", ");
}

function ask(door: string, key: string, user: string | null, body: string) {
  const headers = {
    authorization: `Bearer ${key}`,
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    ...(user === null ? {} : { "x-quota-user": user }),
  };
  const asked = request({ host: "127.0.0.1", port, method: "POST", path: door, headers, agent: false });
  asked.end(body);
  return asked;
}

function post(door: string, key: string, user: string | null, body: string): Promise<number> {
  return new Promise((resolve) => {
    const asked = ask(door, key, user, body);
    asked.once("error", () => resolve(0));
    asked.once("response", (response) => {
      response.on("error", () => resolve(0));
      response.resume().once("end", () => resolve(response.statusCode ?? 0));
    });
  });
}

/** Starts all streams, then hangs up; resolves when all are billed. */
async function hangUp(count: number, key: string, user: string, body: string): Promise<string> {
  const streams = Array.from({ length: count }, () => ask("/v1/chat/completions", key, user, body));
  await Promise.all(
    streams.map((each) => {
      each.on("error", () => {});
      return new Promise<void>((resolve) =>
        each.once("response", (response: IncomingMessage) => {
          response.on("error", () => {});
          response.once("data", () => resolve());
        }),
      );
    }),
  );
  for (const each of streams) each.destroy();
  for (;;) {
    const { statusCode, held } = await balance(key, user);
    if (statusCode === 200 && held === 0) return "all billed";
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function balance(key: string, user: string): Promise<{ statusCode: number; held: number }> {
  const response = await fetch(`http://127.0.0.1:${port}/v1/balance`, {
    headers: { authorization: `Bearer ${key}`, "x-quota-user": user },
  });
  const { held } = (await response.json()) as { held: number };
  return { statusCode: response.status, held };
}

/** Resolves when the server has ended all connections. */
async function halfSent(count: number, key: string): Promise<string> {
  const head = `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n`;
  const sockets: Socket[] = Array.from({ length: count }, (_, at) => {
    const socket = connect(port, "127.0.0.1")
      .on("error", () => {})
      .resume();
    socket.write(at % 2 === 0 ? head : `${head}Content-Length: 1000\r\n\r\n{"model"`);
    return socket;
  });
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("close", resolve))));
  return "all ended";
}

/** A provider that reports no usage, and whose streams last until the client hangs up. */
async function answer(incoming: IncomingMessage): Promise<(outgoing: import("node:http").ServerResponse) => void> {
  const parts: Buffer[] = [];
  for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part);
  const streams = Buffer.concat(parts).includes('"stream":true');
  if (incoming.url?.endsWith("/embeddings") === true)
    return (outgoing) =>
      void outgoing
        .setHeader("content-type", "application/json")
        .end('{"object":"list","data":[{"embedding":[1]}],"usage":{"prompt_tokens":300000,"total_tokens":300000}}');
  if (!streams)
    return (outgoing) =>
      void outgoing
        .setHeader("content-type", "application/json")
        .end('{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}]}');
  return (outgoing) => {
    outgoing.setHeader("content-type", "text/event-stream").on("error", () => {});
    for (let at = 0; at < 20; at++)
      outgoing.write('data: {"choices":[{"index":0,"delta":{"content":"Hello there. "},"finish_reason":null}]}\n\n');
  };
}

async function ready(): Promise<void> {
  for (const until = Date.now() + 120_000; Date.now() < until; ) {
    if ((await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => null))?.ok === true) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error("the server did not come up");
}
