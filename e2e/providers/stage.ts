import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, inject } from "vitest";
import { migrate } from "../../prisma/migrate.ts";
import { eventData } from "../../src/server/gateway/dialects/server-sent-events.ts";
import { balanceOf } from "../../src/server/ledger/accounts.ts";
import { type Database, openDatabase } from "../../src/server/platform/db.ts";
import { type FakeUpstream, type SeenRequest, startFakeUpstream } from "../../src/testing/fake-upstream.ts";
import { freshDatabase } from "../../src/testing/postgres.ts";
import { forget, type ServerProcess, startServer } from "../../src/testing/server-process.ts";
import type { Behaviour } from "../../src/testing/upstream-answers.ts";
import { type Answer, type Call, call, marker, send } from "../client.ts";
import { expectBooksInOrder, expectCleanOutput, expectToStop } from "../in-order.ts";
import { arrange } from "../world.ts";
import { answering, everyProvider, OWN_MODELS, type Provider } from "./far-end.ts";

/** A server of ours whose every provider is the far end, on a Postgres of its own. */
let stage: { server: ServerProcess; upstream: FakeUpstream; db: Database } | undefined;

/** Has the server run while the tests of the file run; after them it has to stop by itself, with books in order. */
export function withProviders(): void {
  let end = async () => {};
  beforeAll(async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "quota-models-"));
    const models = path.join(folder, "models.json");
    const [upstream, { url, drop }] = await Promise.all([
      startFakeUpstream(),
      freshDatabase(inject("postgresUrl")),
      writeFile(models, JSON.stringify(OWN_MODELS)),
    ]);
    const db = await openDatabase({ url });
    await migrate(db);
    const env = { ...everyProvider(upstream), QUOTA_MODELS_FILE: models };
    const server = await startServer({ databaseUrl: url, pages: false, env });
    stage = { server, upstream, db };
    end = async () => {
      await expectToStop(server);
      expectCleanOutput(server, upstream);
      await expectBooksInOrder({ url });
      await Promise.all([upstream.close(), db.close(), forget(server), rm(folder, { recursive: true })]);
      await drop();
    };
  }, 120_000);
  afterAll(() => end(), 60_000);
}

export type Bought = {
  answer: Answer;
  /** The data of a stream's events, parsed; `[DONE]` stays text. */
  // biome-ignore lint/suspicious/noExplicitAny: a test asserts on whatever came
  events: any[];
  /** What the ledger took of the wallet, in credits. */
  credits: number;
  /** The last price that the client was told, in credits. */
  told: number | null;
  /** How the request ended in the usage records, and who counted its tokens. */
  outcome: string | undefined;
  countedBy: string | null | undefined;
  /** Output, in tokens, as billed. */
  outputTokens: number | undefined;
  /** What the far end saw. */
  requests: readonly SeenRequest[];
};

export type Asked = {
  path?: string;
  stream?: boolean;
  /** Members beside the model and what is said. */
  body?: object;
  /** Hangs up once the stream has said this, and then has the far end go on. */
  hangUpAfter?: string;
  onHangUp?: () => void;
};

const BALANCE = 100_000_000n;

/** Buys one answer of a provider that answers in this way, with 20 % markup; what the client saw, and what the ledger billed. */
export async function buy(provider: Provider, way: Behaviour | ((request: SeenRequest) => Behaviour), asked: Asked = {}): Promise<Bought> {
  if (stage === undefined) throw new Error("withProviders() was not called");
  const { server, upstream, db } = stage;
  const { path = "/v1/chat/completions", stream = false, body = {}, hangUpAfter, onHangUp } = asked;
  const world = await arrange(db, { markupBps: 2_000, balance: BALANCE });
  const text = marker();
  using seen = upstream.on(text, answering(provider, way));
  // Long enough that the hold covers the thousand tokens that providers count of it.
  const content = `${text}${" word".repeat(1_000)}`;
  const says = path === "/v1/responses" ? { input: content } : { messages: [{ role: "user", content }] };
  const request: Call = { ...world.as, body: { model: provider.model, ...(stream ? { stream } : {}), ...says, ...body } };
  const answer = hangUpAfter === undefined ? await call(server, path, request) : await readUntil(server, path, request, hangUpAfter);
  onHangUp?.();
  // A client that left is billed after it left.
  await expect.poll(async () => (await balanceOf(db.sql, world.user.walletId)).held).toBe(0n);
  const events = stream ? eventsIn(answer.text) : [];
  const [[usage], balance] = await Promise.all([world.usage(), world.balance()]);
  return {
    answer,
    events,
    credits: Number(BALANCE - balance),
    told: toldIn([answer.json, ...events]),
    outcome: usage?.outcome,
    countedBy: usage?.countedBy,
    outputTokens: usage?.completionTokens,
    requests: seen.requests,
  };
}

/** What the log of the server has said so far, one object a line. */
export function logLines(): Record<string, unknown>[] {
  const lines = stage?.server.output().stderr.split("\n") ?? [];
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
}

async function readUntil(server: ServerProcess, path: string, request: Call, until: string): Promise<Answer> {
  const hangUp = new AbortController();
  const response = await send(server, path, { ...request, signal: hangUp.signal });
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  let text = "";
  while (!text.includes(until)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the stream ended before it said ${until}: ${text}`);
    text += Buffer.from(value).toString("utf8");
  }
  reader.closed.catch(() => {});
  hangUp.abort();
  return { status: response.status, headers: response.headers, text, json: undefined };
}

function eventsIn(stream: string): unknown[] {
  return stream.split(/(?:\r\n|\n|\r(?!\n)){2}/).flatMap((event) => {
    const data = eventData(event);
    if (data === null) return [];
    return [data.trim() === "[DONE]" ? data : JSON.parse(data)];
  });
}

function toldIn(objects: readonly unknown[]): number | null {
  const last = objects.findLast((each) => (each as { quota?: unknown } | null | undefined)?.quota !== undefined);
  return (last as { quota: { credits_used: number } } | undefined)?.quota.credits_used ?? null;
}
