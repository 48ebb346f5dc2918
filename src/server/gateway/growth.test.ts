import { expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { chunk, delta, event } from "#testing/upstream-answers.ts";
import { balanceOf } from "../ledger/accounts.ts";
import { type Ledger, openLedger } from "../ledger/ledger.ts";
import { verify } from "../ledger/verify.ts";
import type { Database } from "../platform/db.ts";
import { baseCost, markupOn } from "../pricing/price.ts";
import { chatCompletions } from "./dialects/chat-completions.ts";
import { GrowingHold } from "./growth.ts";
import { holdSizes } from "./share.ts";
import { creditsCameBack } from "./waiting.ts";

const DAY = "2026-11-29";
const MARKUP_BPS = 1_000;

/** A stream of gpt-4o-mini paid by a wallet with so many credits, and its hold as a request would make it. */
async function open(db: Database, credits: bigint, body: object = {}) {
  const app = await makeApp(db, { markupBps: MARKUP_BPS });
  const key = await makeKey(db, app.id, "user");
  const person = await makeUser(db, { credits });
  const link = await makeLink(db, app.id, person, { monthlyLimit: credits });
  const text = JSON.stringify({ model: "gpt-4o-mini", stream: true, messages: [{ role: "user", content: "hi" }], ...body });
  const request = chatCompletions.read(text, () => null);
  const sizes = holdSizes(request, request.promptBound, DAY);
  const hold = (rest: Partial<Parameters<typeof holdRequest>[1]>) =>
    holdOne(db.sql, holdRequest(key, { externalUserId: link.externalUserId, ...rest }));
  const held = await hold({ desiredBase: sizes.desired, minimumBase: sizes.minimum, modestBase: sizes.modest });
  const books = openLedger(db);
  const asked: bigint[] = [];
  const lose = { next: false };
  const counted: Pick<Ledger, "grow"> & Partial<Ledger> = {
    grow: async (growth, linkedUserId) => {
      asked.push(growth.desired);
      const verdict = await books.grow(growth, linkedUserId);
      if (!lose.next) return verdict;
      lose.next = false;
      throw new Error("Connection terminated unexpectedly");
    },
  };
  const client = new AbortController();
  const growing = new GrowingHold(counted as Ledger, { ...held, day: DAY, promptBound: request.promptBound }, request, client.signal);
  const meter = chatCompletions.watch(request, app.id);
  growing.begin(meter);
  return {
    meter,
    growing,
    asked,
    /** `next`: the next growth is committed, and its answer lost. */
    lose,
    person,
    link,
    hold,
    client,
    held: async () => (await balanceOf(db.sql, person.walletId)).held,
    /** The provider sends so many tokens, each in an event. Returns how many reached the client, and whether the stream continues. */
    say: async (tokens: number) => {
      let through = "";
      const bytes = Buffer.from(event(chunk([delta({ content: " hello" })])).repeat(tokens));
      through += meter.push(bytes)?.toString() ?? "";
      growing.growAhead(meter);
      while (meter.isFull) {
        const more = await growing.extend(meter);
        if (more === null) break;
        through += more.toString();
      }
      return { tokens: through.split(" hello").length - 1, goesOn: !meter.isFull };
    },
    /** The most that a stream of so many tokens can be billed. */
    price: (completionTokens: number) => {
      const used = { promptTokens: request.promptBound, cachedTokens: 0, cacheWriteTokens: 0, completionTokens };
      const base = baseCost(request.model, used, DAY);
      return base + markupOn(base, MARKUP_BPS);
    },
    end: async () => {
      await books.settle(settlement(held.id, 1n), 1_000);
      expect((await verify(db.sql)).discrepancies).toEqual([]);
    },
  };
}

onBothDatabases("the hold of a stream that grows", (db) => {
  test("covers all output that the client has got at any time, and doubles while the wallet has credits", async () => {
    const it = await open(db(), 9_000n);
    let delivered = 0;
    for (let round = 0; round < 100; round++) {
      const said = await it.say(17);
      expect(said).toEqual({ tokens: 17, goesOn: true });
      delivered += said.tokens;
      expect(await it.held()).toBeGreaterThanOrEqual(it.price(delivered));
    }
    // From 1,024 tokens to more than the 10,200 bytes of this text.
    expect(it.asked.length).toBeLessThanOrEqual(5);
    await it.end();
  });

  test("counts the output with a tokenizer when the wallet is empty, and stops the stream before the hold is used up", async () => {
    const it = await open(db(), 3_000n);
    const said = await it.say(10_000);
    expect(said.goesOn).toBe(false);
    const bill = it.price(said.tokens);
    expect(bill).toBeLessThanOrEqual(await it.held());
    // Of the 3,000 credits: less a twentieth, because tokenizers differ, and less one LEAST_STEP_TOKENS.
    expect(bill).toBeGreaterThan(2_650n);
    expect(it.asked.length).toBeLessThan(10);
    expect(await it.say(0)).toEqual({ tokens: 0, goesOn: false });
    await it.end();
  });

  test("is not grown beyond the longest answer, and delivers without a bound when that is paid for", async () => {
    const it = await open(db(), 3_000n, { max_tokens: 1_500 });
    expect(await it.say(4_000)).toEqual({ tokens: 4_000, goesOn: true });
    expect(it.asked).toHaveLength(1);
    expect(await it.held()).toBe(it.price(1_500));
    await it.end();
  });

  test("grows until it covers one large event", async () => {
    const it = await open(db(), 9_000n);
    const large = event(chunk([delta({ content: "x".repeat(6_000) })]));
    let through = it.meter.push(Buffer.from(large))?.toString() ?? "";
    while (it.meter.isFull) through += (await it.growing.extend(it.meter))?.toString() ?? "no more";
    expect(through).toBe(large);
    expect(await it.held()).toBeGreaterThanOrEqual(it.price(6_000));
    await it.end();
  });

  test("keeps credits for a stop sequence, which is billed and not delivered", async () => {
    const plain = await open(db(), 3_000n);
    const stopped = await open(db(), 3_000n, { stop: ["x".repeat(400)] });
    const [most, less] = [await plain.say(10_000), await stopped.say(10_000)];
    expect(most.tokens - less.tokens).toBeGreaterThan(300);
    await plain.end();
    await stopped.end();
  });

  test("grows when another request of the wallet returns its credits", async () => {
    const it = await open(db(), 3_000n);
    const other = await it.hold({ amount: 2_000n });
    const saying = it.say(3_000);
    // The stream has taken the rest of the wallet, and pauses.
    await expect.poll(async () => (await balanceOf(db().sql, it.person.walletId)).available).toBeLessThan(100n);
    await openLedger(db()).settle(settlement(other.id, 1n), 1_000);
    creditsCameBack(it.person.walletId);
    expect(await saying).toEqual({ tokens: 3_000, goesOn: true });
    await it.end();
  });

  test("bills a price up to the credits on hold, and names no bill while the outcome of a growth is unknown", async () => {
    const it = await open(db(), 3_000n);
    const first = await it.held();
    expect([it.growing.billOf(first), it.growing.billOf(first + 1n)]).toEqual([first, first]);
    it.lose.next = true;
    await it.growing.pay(first + 100n);
    // The growth was committed, and its answer lost.
    expect(await it.held()).toBe(first + 100n);
    expect([it.growing.billOf(first), it.growing.billOf(first + 1n)]).toEqual([first, null]);
    await it.growing.pay(first + 100n);
    expect(await it.held()).toBe(first + 100n);
    expect(it.growing.billOf(5_000n)).toBe(first + 100n);
    await it.end();
  });

  test("stops waiting for credits when its client hangs up", async () => {
    const it = await open(db(), 3_000n);
    await it.hold({ amount: 2_000n });
    const saying = it.say(3_000);
    await expect.poll(async () => (await balanceOf(db().sql, it.person.walletId)).available).toBeLessThan(100n);
    it.client.abort();
    expect((await saying).goesOn).toBe(false);
  });
});
