import { beforeAll, expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { holdAll, holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { platformAccount } from "../ledger/accounts.ts";
import { settle } from "../ledger/hold.ts";
import { transfer } from "../ledger/transfer.ts";
import { newId, requestIdOf } from "../platform/ids.ts";
import { type EventType, eventTable } from "./events.ts";

onBothDatabases("events of settlements", (db) => {
  /** An app with a linked user, and an endpoint that is only a row. */
  async function arrange(options: {
    events: EventType[];
    credits?: bigint;
    threshold?: bigint;
    sandbox?: boolean;
    mode?: "developer" | "test";
  }) {
    const app = await makeApp(db(), { credits: 10_000n });
    const user = await makeUser(db(), { credits: options.credits ?? 1_000n });
    const link = await makeLink(db(), app.id, user);
    const key = await makeKey(db(), app.id, options.mode ?? "developer");
    const endpoint = await subscribe(app.id, options);
    /** Requests in one batch, settled in one batch. */
    const spend = async (...amounts: bigint[]) => {
      const held = await holdAll(
        db().sql,
        amounts.map((amount) => holdRequest(key, { externalUserId: link.externalUserId, amount })),
      );
      await settle(
        db().sql,
        held.map(({ id }, index) => settlement(id, amounts[index] as bigint, 0n, { promptTokens: 3, completionTokens: 4 })),
      );
      return held;
    };
    return { app, user, link, key, endpoint, spend, news: (type?: EventType) => newsOf(app.id, type) };
  }

  async function subscribe(appId: string, { events, threshold, sandbox }: { events: EventType[]; threshold?: bigint; sandbox?: boolean }) {
    return db().prisma.webhookEndpoint.create({
      data: {
        appId,
        url: "https://example.com/",
        events,
        secret: Buffer.alloc(1),
        sandbox: sandbox ?? false,
        balanceLowThreshold: threshold ?? 100_000n,
      },
    });
  }

  async function newsOf(appId: string, type?: EventType) {
    const rows = await db().prisma.outboxEvent.findMany({
      where: { appId, ...(type === undefined ? {} : { type }) },
      orderBy: { id: "asc" },
    });
    for (const row of rows) expect(eventTable[row.type as EventType].data.strict().safeParse(row.data).error).toBe(undefined);
    // biome-ignore lint/suspicious/noExplicitAny: a test asserts on whatever was written
    return rows as (Omit<(typeof rows)[number], "data"> & { data: any })[];
  }

  beforeAll(async () => {
    // Another app subscribes to every type: its events must not appear in the tests' apps.
    const stranger = await makeApp(db());
    await subscribe(stranger.id, { events: ["usage.completed", "balance.updated", "balance.low"], threshold: 1_000_000n });
  });

  test("a linked user's request writes one event of each type that an endpoint subscribed to, with what was billed", async () => {
    const { user, link, spend, news } = await arrange({ events: ["usage.completed", "balance.updated"] });
    const [held] = await spend(30n);
    const who = { user_id: user.id, external_user_id: link.externalUserId };
    const [usage, ...more] = await news("usage.completed");
    expect([usage?.data, more]).toEqual([
      {
        ...who,
        request_id: requestIdOf(held?.id as string),
        model: "test/small",
        prompt_tokens: 3,
        completion_tokens: 4,
        total_tokens: 7,
        credits_used: 30,
      },
      [],
    ]);
    expect((await news("balance.updated")).map(({ data }) => data)).toEqual([
      { ...who, new_balance: 970, amount_spent: 30, model: "test/small", endpoint: "/v1/chat/completions" },
    ]);
    expect([usage?.sandbox, usage?.endpointId, usage?.relayedAt]).toEqual([false, null, null]);
  });

  test("an endpoint without the type and a disabled endpoint cause no event", async () => {
    const quiet = await arrange({ events: ["user.connected"] });
    await quiet.spend(30n);
    const off = await arrange({ events: ["usage.completed"] });
    await db().prisma.webhookEndpoint.update({ where: { id: off.endpoint.id }, data: { disabledAt: new Date(), disabledReason: "owner" } });
    await off.spend(30n);
    expect([await quiet.news(), await off.news()]).toEqual([[], []]);
  });

  test("failed requests, and requests that the developer pays for, write no event", async () => {
    const { key, link, news } = await arrange({ events: ["usage.completed", "balance.updated", "balance.low"], threshold: 1_000n });
    const failed = await holdOne(db().sql, holdRequest(key, { externalUserId: link.externalUserId, amount: 10n }));
    await settle(db().sql, [settlement(failed.id, 0n, 0n, { outcome: "failed" })]);
    const own = await holdOne(db().sql, holdRequest(key, { amount: 10n }));
    await settle(db().sql, [settlement(own.id, 10n)]);
    expect(await news()).toEqual([]);
  });

  test("a repeated settlement writes no second event, and each request of a batch has its own balance", async () => {
    const { key, link, news } = await arrange({ events: ["usage.completed", "balance.updated"] });
    const held = await holdAll(
      db().sql,
      [10n, 20n, 30n].map((amount) => holdRequest(key, { externalUserId: link.externalUserId, amount })),
    );
    const settlements = held.map(({ id }, index) => settlement(id, BigInt(10 * (index + 1))));
    const verdicts = await settle(db().sql, [...settlements, ...settlements]);
    await settle(db().sql, settlements);
    expect(verdicts.filter(({ kind }) => kind === "settled")).toHaveLength(3);
    expect((await news("usage.completed")).map(({ data }) => data.credits_used).sort()).toEqual([10, 20, 30]);
    expect((await news("balance.updated")).map(({ data }) => data.new_balance).sort()).toEqual([940, 970, 990]);
  });

  test("balance.low is written once for each crossing of the threshold, and again after a top-up", async () => {
    const { user, link, endpoint, spend, news } = await arrange({ events: ["balance.low"], threshold: 500n });
    const low = async () => (await news("balance.low")).map(({ data }) => data.current_balance);
    await spend(400n);
    expect(await low()).toEqual([]);
    // 600 → 500 is not below; 500 → 490 is the crossing, in the middle of a batch.
    await spend(100n, 10n, 10n);
    expect(await low()).toEqual([490]);
    await spend(100n);
    await spend(100n);
    expect(await low()).toEqual([490]);
    await transfer(db().sql, {
      id: newId(),
      debitId: platformAccount.promotions,
      creditId: user.walletId,
      amount: 1_000n,
      reason: "grant",
    });
    await spend(500n, 300n);
    expect(await low()).toEqual([490, 480]);
    expect((await news("balance.low"))[0]).toMatchObject({
      endpointId: endpoint.id,
      data: { user_id: user.id, external_user_id: link.externalUserId, threshold: 500 },
    });
  });

  test("concurrent settlements write balance.low once", async () => {
    const { key, link, news } = await arrange({ events: ["balance.low"], threshold: 500n });
    const held = await holdAll(
      db().sql,
      Array.from({ length: 50 }, () => holdRequest(key, { externalUserId: link.externalUserId, amount: 20n })),
    );
    await Promise.all(held.map(({ id }) => settle(db().sql, [settlement(id, 20n)])));
    expect((await news("balance.low")).map(({ data }) => data.current_balance)).toEqual([480]);
  });

  test("each endpoint has its own threshold, and one settlement may cross several of them", async () => {
    const { app, endpoint, spend, news } = await arrange({ events: ["balance.low"], threshold: 900n });
    const lower = await subscribe(app.id, { events: ["balance.low"], threshold: 300n });
    await spend(200n);
    expect((await news()).map(({ endpointId }) => endpointId)).toEqual([endpoint.id]);
    await spend(600n);
    expect((await news()).map(({ endpointId, data }) => [endpointId, data.current_balance])).toEqual([
      [endpoint.id, 800],
      [lower.id, 200],
    ]);
    const both = await arrange({ events: ["balance.low"], threshold: 900n });
    await subscribe(both.app.id, { events: ["balance.low"], threshold: 300n });
    await both.spend(800n);
    expect((await both.news()).map(({ data }) => data.threshold).sort()).toEqual([300, 900]);
  });

  test("every app that the wallet is linked to and that may read its balance gets balance.low, with its own external id", async () => {
    const { user, spend, news } = await arrange({ events: ["usage.completed", "balance.updated"] });
    const other = await makeApp(db());
    const link = await makeLink(db(), other.id, user, { externalUserId: "known elsewhere" });
    await subscribe(other.id, { events: ["usage.completed", "balance.updated", "balance.low"], threshold: 500n });
    const blind = await makeApp(db());
    const mayNotSee = await makeLink(db(), blind.id, user);
    await db().prisma.linkedUser.update({ where: { id: mayNotSee.id }, data: { scope: "credits.spend" } });
    await subscribe(blind.id, { events: ["balance.low"], threshold: 500n });
    await spend(600n);
    expect((await newsOf(other.id)).map(({ type, data }) => [type, data])).toEqual([
      ["balance.low", { user_id: user.id, external_user_id: link.externalUserId, current_balance: 400, threshold: 500 }],
    ]);
    expect([(await news()).length, await newsOf(blind.id)]).toEqual([2, []]);
  });

  test("an app that may not read the balance gets usage.completed, and no event with a balance", async () => {
    const { link, spend, news } = await arrange({ events: ["usage.completed", "balance.updated", "balance.low"], threshold: 900n });
    await db().prisma.linkedUser.update({ where: { id: link.id }, data: { scope: "credits.spend" } });
    await spend(300n);
    expect((await news()).map(({ type }) => type)).toEqual(["usage.completed"]);
  });

  test("the largest token counts that fit the columns are added without overflow", async () => {
    const { link, key, news } = await arrange({ events: ["usage.completed"] });
    const held = await holdOne(db().sql, holdRequest(key, { externalUserId: link.externalUserId, amount: 5n }));
    await settle(db().sql, [settlement(held.id, 5n, 0n, { promptTokens: 2_147_483_647, completionTokens: 2_147_483_647 })]);
    expect((await news()).map(({ data }) => data.total_tokens)).toEqual([4_294_967_294]);
  });

  test("requests with `test` keys write events for sandbox endpoints only, with the sandbox wallet's id as user_id", async () => {
    const { app, link, key } = await arrange({ events: ["usage.completed", "balance.low"], threshold: 500n, mode: "test" });
    await transfer(db().sql, {
      id: newId(),
      debitId: platformAccount.sandbox,
      creditId: app.sandboxWalletId,
      amount: 1_000n,
      reason: "grant",
    });
    const spend = async () => {
      const held = await holdOne(db().sql, holdRequest(key, { externalUserId: link.externalUserId, amount: 300n }));
      await settle(db().sql, [settlement(held.id, 300n)]);
    };
    await spend();
    expect(await newsOf(app.id)).toEqual([]);
    await subscribe(app.id, { events: ["usage.completed", "balance.low"], threshold: 500n, sandbox: true });
    await spend();
    expect((await newsOf(app.id)).map(({ type, sandbox, data }) => [type, sandbox, data.user_id, data.external_user_id]).sort()).toEqual([
      ["balance.low", true, app.sandboxWalletId, link.externalUserId],
      ["usage.completed", true, app.sandboxWalletId, link.externalUserId],
    ]);
  });
});
