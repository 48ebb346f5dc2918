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
import { answering, everyProvider, OWN_MODELS, type Provider } from "./provider.ts";

/** A Quota server that reaches every provider at the fake upstream, with a Postgres database of its own. */
let running: { server: ServerProcess; upstream: FakeUpstream; db: Database } | undefined;

/** Starts the server before the tests of the file. After them, asserts that it stops on its signal and that its books verify. */
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
    running = { server, upstream, db };
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
  // biome-ignore lint/suspicious/noExplicitAny: tests assert on events of any shape
  events: any[];
  /** The credits that the ledger debited from the wallet. */
  credits: number;
  /** The last `quota.credits_used` that the client received; null when it received none. */
  toldCredits: number | null;
  /** The `outcome` and `countedBy` of the usage record. */
  outcome: string | undefined;
  countedBy: string | null | undefined;
  /** The billed output tokens. */
  outputTokens: number | undefined;
  /** The requests that the fake upstream received. */
  requests: readonly SeenRequest[];
};

export type BuyOptions = {
  path?: string;
  stream?: boolean;
  /** Members of the body besides the model, `stream` and the messages or input. */
  body?: object;
  /** The client hangs up when the stream contains this text. */
  hangUpAfter?: string;
  /** Called after the client hung up (or received the whole answer), such as to let the provider go on. */
  onHangUp?: () => void;
};

const BALANCE = 100_000_000n;

/** Buys one answer at 20 % markup, from a provider that behaves in this way. Returns what the client received and what the ledger billed. */
export async function buy(
  provider: Provider,
  behaviour: Behaviour | ((request: SeenRequest) => Behaviour),
  options: BuyOptions = {},
): Promise<Bought> {
  if (running === undefined) throw new Error("withProviders() was not called");
  const { server, upstream, db } = running;
  const { path = "/v1/chat/completions", stream = false, body = {}, hangUpAfter, onHangUp } = options;
  const world = await arrange(db, { markupBps: 2_000, balance: BALANCE });
  const text = marker();
  using seen = upstream.on(text, answering(provider, behaviour));
  // Long enough that the hold covers the 1,000 prompt tokens that the providers' answers count.
  const content = `${text}${" word".repeat(1_000)}`;
  const says = path === "/v1/responses" ? { input: content } : { messages: [{ role: "user", content }] };
  const request: Call = { ...world.as, body: { model: provider.model, ...(stream ? { stream } : {}), ...says, ...body } };
  const answer = hangUpAfter === undefined ? await call(server, path, request) : await readUntil(server, path, request, hangUpAfter);
  onHangUp?.();
  // A request whose client hung up is settled after the hang-up.
  await expect.poll(async () => (await balanceOf(db.sql, world.user.walletId)).held).toBe(0n);
  const events = stream ? eventsIn(answer.text) : [];
  const [[usage], balance] = await Promise.all([world.usage(), world.balance()]);
  return {
    answer,
    events,
    credits: Number(BALANCE - balance),
    toldCredits: toldCreditsIn([answer.json, ...events]),
    outcome: usage?.outcome,
    countedBy: usage?.countedBy,
    outputTokens: usage?.completionTokens,
    requests: seen.requests,
  };
}

/** The lines that the server has logged so far, parsed. */
export function logLines(): Record<string, unknown>[] {
  const lines = running?.server.output().stderr.split("\n") ?? [];
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
}

async function readUntil(server: ServerProcess, path: string, request: Call, until: string): Promise<Answer> {
  const hangUp = new AbortController();
  const response = await send(server, path, { ...request, signal: hangUp.signal });
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  let text = "";
  while (!text.includes(until)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the stream ended before it contained ${until}: ${text}`);
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

function toldCreditsIn(objects: readonly unknown[]): number | null {
  const last = objects.findLast((each) => (each as { quota?: unknown } | null | undefined)?.quota !== undefined);
  return (last as { quota: { credits_used: number } } | undefined)?.quota.credits_used ?? null;
}
