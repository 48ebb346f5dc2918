import { v7 as uuidv7 } from "uuid";
import { afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { asTheDatabase, onBothDatabases } from "#testing/database.ts";
import { makeApp, makeKey, makeUser } from "#testing/makers.ts";
import { theLedger } from "../ledger/ledger.ts";
import { sweepHolds } from "../ledger/sweep.ts";
import { AppError } from "../platform/errors.ts";
import { log } from "../platform/log.ts";
import { complete } from "./complete.ts";
import { chatCompletions } from "./dialects/chat-completions.ts";
import type { Purchase } from "./purchase.ts";
import { openSales } from "./sale.ts";

/** Milliseconds between the attempts of `billAndRemember` and of the ledger. */
const PAUSES = [200, 400, 800, 1_600, 3_200, 5_000];

let failures: number;
beforeEach(() => {
  failures = 0;
  vi.spyOn(log, "error").mockImplementation((message) => void (message === "settle failed" && failures++));
  const real = globalThis.setTimeout;
  const quick = (work: () => void, ms: number, ...rest: unknown[]) => real(work, PAUSES.includes(ms) ? 1 : ms, ...rest);
  vi.spyOn(globalThis, "setTimeout").mockImplementation(quick as never);
});
afterEach(() => {
  vi.restoreAllMocks();
});

onBothDatabases("a completion with an Idempotency-Key", (db) => {
  asTheDatabase(db);
  beforeAll(() => {
    theLedger.opened = undefined;
  });

  async function purchase(remember: NonNullable<Purchase["remember"]>): Promise<Purchase> {
    const owner = await makeUser(db());
    const key = await makeKey(db(), (await makeApp(db(), { ownerId: owner.id })).id, "test");
    const text = JSON.stringify({ model: "gpt-4o-mini", max_tokens: 20, messages: [{ role: "user", content: "Hello!" }] });
    return {
      id: uuidv7(),
      credentialHash: key.hash,
      byToken: false,
      externalUserId: null,
      endpoint: "/v1/chat/completions",
      dialect: chatCompletions,
      request: chatCompletions.read(text, () => null),
      signal: new AbortController().signal,
      remember,
    };
  }
  const usageOf = (id: string) => db().prisma.usage.findUniqueOrThrow({ where: { id } });
  const quotaOf = (answer: { body: unknown }) => (JSON.parse(String(answer.body)) as { quota: Record<string, unknown> }).quota;

  test("is retried until the database is back, and only then is billed, remembered and answered with a price", async () => {
    let attempts = 0;
    const asked = await purchase(async () => {
      if (++attempts <= 12) throw new Error("Connection terminated unexpectedly");
    });
    const { credits_used, balance_after } = quotaOf(await complete(asked));
    expect([attempts, failures]).toEqual([13, 12]);
    const { base, markup, outcome } = await usageOf(asked.id);
    expect([outcome, Number(base + markup)]).toEqual(["completed", credits_used]);
    expect(balance_after).toEqual(expect.any(Number));
    expect(openSales()).toBe(0);
  });

  test("whose hold the sweeper returned before the bill is free, and is answered and remembered as free", async () => {
    const remembered: string[] = [];
    const asked = await purchase(async (_tx, { body }) => void remembered.push(body));
    // countAnswer runs between the provider's answer and its bill.
    const dialect: Purchase["dialect"] = {
      ...chatCompletions,
      readUsage: () => null,
      countAnswer: async () => {
        await sweepHolds(db().sql, { all: true });
        return 5;
      },
    };
    const answer = await complete({ ...asked, dialect });
    expect(quotaOf(answer)).toMatchObject({ credits_used: 0, balance_after: null });
    expect(remembered).toEqual([answer.body]);
    expect(await usageOf(asked.id)).toMatchObject({ outcome: "swept", base: 0n, markup: 0n });
  });

  test("whose key another request has taken over is not billed and not retried", async () => {
    let attempts = 0;
    const asked = await purchase(async () => {
      attempts++;
      throw new AppError("idempotency_conflict");
    });
    await expect(complete(asked)).rejects.toMatchObject({ code: "idempotency_conflict" });
    expect([attempts, failures]).toEqual([1, 0]);
    expect(await usageOf(asked.id)).toMatchObject({ outcome: "failed", base: 0n, markup: 0n });
    expect(openSales()).toBe(0);
  });
});
