import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { asTheDatabase, onBothDatabases } from "#testing/database.ts";
import { holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeUser } from "#testing/makers.ts";
import { balanceOf } from "../ledger/accounts.ts";
import { settle } from "../ledger/hold.ts";
import { transaction } from "../platform/db.ts";
import { type Claim, claim, type Idempotency, purgeIdempotency, renewClaims } from "./idempotency.ts";

const ANSWER = { status: 200, headers: { "content-type": "application/json" }, body: '{"id":"first"}' };

// Without the timer, leases are renewed only when a test calls `renewClaims`.
beforeAll(() => void vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] }));
afterAll(() => void vi.useRealTimers());

onBothDatabases("a claim on an Idempotency-Key", (db) => {
  asTheDatabase(db);

  async function setting() {
    const owner = await makeUser(db(), { credits: 1_000n });
    const app = await makeApp(db(), { ownerId: owner.id });
    const key = await makeKey(db(), app.id);
    const name = randomUUID();
    const ask = (body = "{}"): Promise<Claim> =>
      claim({ appId: app.id, billingMode: "developer" }, name, { method: "POST", path: "/v1/x", externalUserId: null, body }, {});
    const first = async (): Promise<Idempotency> => {
      const claimed = await ask();
      if (claimed.kind !== "first") throw new Error("the key was taken");
      return claimed.idempotency;
    };
    const place = { appId: app.id, key: `live:${name}` };
    return {
      owner,
      key,
      ask,
      first,
      /** Expires the lease, as ten seconds without a renewal do. */
      expire: () =>
        db().prisma.idempotencyRecord.update({ where: { appId_key: place }, data: { expiresAt: new Date(Date.now() - 1_000) } }),
      record: () => db().prisma.idempotencyRecord.findUnique({ where: { appId_key: place } }),
    };
  }

  test("is a lease of seconds: a concurrent request gets Retry-After with the rest of the lease", async () => {
    const { ask, first } = await setting();
    const running = await first();
    await expect(ask()).rejects.toMatchObject({
      code: "idempotency_conflict",
      headers: { "retry-after": expect.stringMatching(/^([89]|10)$/) },
    });
    running.end();
  });

  test("of a crashed process is free when its lease has expired, also for another body", async () => {
    const { ask, first, expire } = await setting();
    (await first()).end();
    await expire();
    expect(await ask('{"other":true}')).toMatchObject({ kind: "first" });
  });

  test("is renewed while its request runs, and not after it has ended", async () => {
    const { ask, first, expire } = await setting();
    const running = await first();
    await expire();
    await renewClaims();
    await expect(ask()).rejects.toMatchObject({ code: "idempotency_conflict" });
    running.end();
    await expire();
    await renewClaims();
    expect(await ask()).toMatchObject({ kind: "first" });
  });

  test("that was taken over is not renewed by the process that had it before", async () => {
    const { first, expire, record } = await setting();
    const stopped = await first();
    await expire();
    const second = await first();
    second.end();
    const { expiresAt } = await expire();
    await renewClaims();
    expect((await record())?.expiresAt).toEqual(expiresAt);
    stopped.end();
  });

  test("that was taken over lets its first process neither bill nor keep an answer, before and after the second answers", async () => {
    const { owner, key, ask, first, expire } = await setting();
    const stopped = await first();
    const held = await holdOne(db().sql, holdRequest(key));
    const billLate = () =>
      transaction(async (tx) => {
        await settle(tx, [settlement(held.id, 60n)]);
        await stopped.remember(tx, { ...ANSWER, body: "late" });
      });
    await expire();
    const second = await first();
    await expect(billLate()).rejects.toMatchObject({ code: "idempotency_conflict" });
    // The error of the first request does not free the key of the second.
    await stopped.forget();
    await expect(ask()).rejects.toMatchObject({ code: "idempotency_conflict" });
    const held2 = await holdOne(db().sql, holdRequest(key));
    await transaction(async (tx) => {
      await settle(tx, [settlement(held2.id, 40n)]);
      await second.remember(tx, ANSWER);
    });
    await expect(billLate()).rejects.toMatchObject({ code: "idempotency_conflict" });
    await stopped.forget();
    expect(await ask()).toMatchObject({ kind: "replay", reply: { status: 200, body: ANSWER.body } });
    expect((await balanceOf(db().sql, owner.walletId)).balance).toBe(960n);
    second.end();
  });

  test("whose lease has expired is taken over by one of many concurrent requests", async () => {
    const { ask, first, expire } = await setting();
    (await first()).end();
    await expire();
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => ask()));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  test("of a server of the version before, which renews no lease, lasts until the expiry that it wrote", async () => {
    const { ask, first, record } = await setting();
    (await first()).end();
    const { appId, key } = (await record()) as { appId: string; key: string };
    await db().prisma.idempotencyRecord.update({
      where: { appId_key: { appId, key } },
      data: { claim: null, expiresAt: new Date(Date.now() + 600_000) },
    });
    await expect(ask()).rejects.toMatchObject({ headers: { "retry-after": expect.stringMatching(/^(59\d|600)$/) } });
  });

  test("that was answered is kept for a day by the database's clock, also when the server's clock is days behind", async () => {
    const { ask, first } = await setting();
    vi.spyOn(Date, "now").mockReturnValue(Date.now() - 3 * 24 * 60 * 60_000);
    try {
      const running = await first();
      await running.keep(ANSWER);
      running.end();
      await purgeIdempotency();
      expect(await ask()).toMatchObject({ kind: "replay", reply: { status: 200, body: ANSWER.body } });
    } finally {
      vi.restoreAllMocks();
    }
  });

  test("is deleted by the purge when its lease has expired, and not before", async () => {
    const { first, expire, record } = await setting();
    (await first()).end();
    await purgeIdempotency();
    expect(await record()).not.toBeNull();
    await expire();
    await purgeIdempotency();
    expect(await record()).toBeNull();
  });
});
