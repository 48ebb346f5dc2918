import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { asTheDatabase, onBothDatabases } from "#testing/database.ts";
import { holdOne, holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeToken, makeUser, passMonth } from "#testing/makers.ts";
import { balanceOf } from "../ledger/accounts.ts";
import { settle } from "../ledger/hold.ts";
import { openLedger } from "../ledger/ledger.ts";
import { endOfMonth, refillLimit, setLimit } from "../ledger/limits.ts";
import { verify } from "../ledger/verify.ts";
import { type Database, transaction } from "../platform/db.ts";
import { createCaller } from "../trpc/root.ts";
import { consentContext } from "./consent.ts";
import { type Agreement, endLink, findLinkedUser, link, linkByToken, linkLimit, unlink } from "./linked-users.ts";

const NEXT_MONTH = endOfMonth(new Date());
const LIMIT_ROW = {
  limitId: true,
  monthlyLimit: true,
  limitPeriodEndsAt: true,
  limitOverspent: true,
  limitFormerIds: true,
  limitHeldElsewhere: true,
} as const;

/** A user with plenty of credits, an app, and consents of the user to the app. */
async function connecting(db: Database) {
  const app = await makeApp(db);
  const key = await makeKey(db, app.id, "user");
  const person = await makeUser(db, { credits: 1_000_000n });
  const agreement = (monthlyLimit: bigint | null, more: Partial<Agreement> = {}): Agreement => ({
    appId: app.id,
    userId: person.id,
    scope: "credits.read credits.spend",
    monthlyLimit,
    allowedModels: [],
    agreedMarkupBps: 0,
    ...more,
  });
  return {
    app,
    person,
    agreement,
    connect: (id: string, monthlyLimit: bigint | null, more: Partial<Agreement> = {}) =>
      transaction((tx) => link(tx, id, agreement(monthlyLimit, more)), db),
    byToken: (monthlyLimit: bigint | null, more: Partial<Agreement> = {}) =>
      transaction((tx) => linkByToken(tx, `oauth_${randomUUID()}`, agreement(monthlyLimit, more)), db),
    request: (externalUserId: string, amount: bigint) => holdRequest(key, { externalUserId, amount }),
    spend: async (externalUserId: string, amount: bigint) => {
      const { id } = await holdOne(db.sql, holdRequest(key, { externalUserId, amount }));
      await settle(db.sql, [settlement(id, amount)]);
    },
    state: async (externalUserId: string) => {
      const view = await findLinkedUser(db, app.id, externalUserId);
      return view === null ? null : { limit: view.limit, spent: view.spent };
    },
    rows: () => db.prisma.linkedUser.findMany({ where: { appId: app.id, userId: person.id }, orderBy: { id: "asc" } }),
  };
}

onBothDatabases("a user whom an app knows under several ids", (db) => {
  asTheDatabase(db);

  test("spends through all of them together no more than the limit of the last consent", async () => {
    const it = await connecting(db());
    await it.connect("a", 5_000n);
    await it.spend("a", 300n);
    await it.connect("b", 1_000n);
    const token = await it.byToken(1_000n);
    const { hash } = await makeToken(db(), { id: token.id, appId: it.app.id, userId: it.person.id });
    expect(await it.state("a")).toEqual({ limit: 1_000n, spent: 300n });
    expect(await it.state("b")).toEqual({ limit: 1_000n, spent: 300n });

    const ledger = openLedger(db());
    let charged = 300n;
    await Promise.all(
      Array.from({ length: 60 }, async (_, turn) => {
        const request =
          turn % 3 === 2 ? holdRequest({ hash }, { byToken: true, amount: 50n }) : it.request(turn % 3 === 0 ? "a" : "b", 50n);
        const verdict = await ledger.hold(request);
        if (verdict.kind !== "held")
          return expect(["spending_limit_reached", "credits_on_hold"]).toContain(verdict.kind === "refused" && verdict.reason);
        const settled = await ledger.settle(settlement(verdict.id, 50n), 60_000);
        if (settled.kind === "settled") charged += settled.charged;
      }),
    );
    expect(charged).toBe(1_000n);
    expect(await it.state("b")).toEqual({ limit: 1_000n, spent: 1_000n });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("sets limit and models for the app with each id that is connected", async () => {
    const it = await connecting(db());
    await it.connect("a", null);
    await it.connect("b", 700n, { allowedModels: ["m"] });
    await it.byToken(900n, { allowedModels: ["n"] });
    expect(await it.rows()).toMatchObject(Array(3).fill({ monthlyLimit: 900n, allowedModels: ["n"] }));
    expect(new Set((await it.rows()).map(({ limitId }) => limitId)).size).toBe(1);
    await it.connect("a", null);
    expect(await it.rows()).toMatchObject(Array(3).fill({ monthlyLimit: null, limitId: null, allowedModels: [] }));
  });

  test("connects without credits.spend under the existing limit and models", async () => {
    const it = await connecting(db());
    await it.connect("a", 700n, { allowedModels: ["m"] });
    await it.byToken(null, { scope: "credits.read" });
    const [own, token] = await it.rows();
    expect(token).toMatchObject({ monthlyLimit: 700n, limitId: own?.limitId, allowedModels: ["m"] });
    // Also when the limit is changed concurrently.
    await transaction((tx) => setLimit(tx, token?.id ?? "", 300n), db());
    expect(await it.state("a")).toEqual({ limit: 300n, spent: 0n });
  });

  test("disconnects one of them, and the others keep the limit and what was spent of it", async () => {
    const it = await connecting(db());
    await it.connect("a", 500n);
    await it.connect("b", 500n);
    await it.spend("a", 200n);
    await transaction((tx) => unlink(tx, it.app.id, "a", "user"), db());
    expect(await it.state("b")).toEqual({ limit: 500n, spent: 200n });
    await it.connect("c", 500n);
    expect(await it.state("c")).toEqual({ limit: 500n, spent: 200n });
  });

  test("has the limit refilled once a month, by the first request under any id", async () => {
    const it = await connecting(db());
    await it.connect("a", 500n);
    const { id } = await it.connect("b", 500n);
    await it.spend("a", 500n);
    await Promise.all((await it.rows()).map((row) => transaction((tx) => refillLimit(tx, row.id, NEXT_MONTH), db())));
    const [first, second] = await it.rows();
    expect(second?.id).toBe(id);
    expect(first?.limitPeriodEndsAt).toEqual(endOfMonth(NEXT_MONTH));
    expect(second?.limitPeriodEndsAt).toEqual(endOfMonth(NEXT_MONTH));
    expect((await balanceOf(db().sql, second?.limitId ?? "")).available).toBe(500n);
    await it.spend("b", 100n);
    await transaction((tx) => refillLimit(tx, first?.id ?? "", NEXT_MONTH), db());
    expect((await balanceOf(db().sql, first?.limitId ?? "")).available).toBe(400n);
  });

  test("sees the same limit on the consent page and in the wallet, as does the app's owner", async () => {
    const it = await connecting(db());
    await it.connect("a", 700n, { allowedModels: ["test/small"], agreedMarkupBps: 500 });
    await it.byToken(null, { scope: "openid credits.read", agreedMarkupBps: 900 });
    await it.spend("a", 200n);
    expect((await consentContext(it.person.id, it.app.id)).earlier).toEqual({
      scopes: ["openid", "credits.read", "credits.spend"],
      ownIdScopes: ["credits.read", "credits.spend"],
      monthlyLimit: 700n,
      allowedModels: ["test/small"],
      agreedMarkupBps: 500,
    });
    const mine = createCaller({ user: it.person }).wallet;
    const apps = await mine.connectedApps();
    expect(apps).toMatchObject(Array(2).fill({ connections: 2, limit: 700n, spent: 200n, allowedModels: ["test/small"] }));
    await mine.setModels({ linkId: apps[0]?.id ?? "", allowedModels: [] });
    await mine.setLimit({ linkId: apps[1]?.id ?? "", monthlyLimit: null });
    expect(await mine.connectedApps()).toMatchObject(Array(2).fill({ limit: null, spent: 200n, allowedModels: [] }));

    const owner = createCaller({ user: await db().prisma.user.findUniqueOrThrow({ where: { id: it.app.ownerId } }) });
    expect(await owner.linkedUsers.get({ appId: it.app.id, linkedUserId: apps[0]?.id ?? "" })).toMatchObject({ otherIds: 1 });
    await mine.disconnect({ linkId: apps[0]?.id ?? "" });
    expect(await mine.connectedApps()).toMatchObject([{ connections: 1 }]);
  });

  test("may connect several concurrently while the limit is changed: all have the same limit", async () => {
    const it = await connecting(db());
    const { id } = await it.connect("first", 100n);
    await Promise.all([
      ...["a", "b", "c", "d"].map((name, turn) => it.connect(name, BigInt(200 + turn))),
      it.byToken(300n),
      ...[400n, 500n].map((limit) => transaction((tx) => setLimit(tx, id, limit), db())),
      it.connect("first", 600n),
    ]);
    const rows = await db().prisma.linkedUser.findMany({ where: { appId: it.app.id }, select: LIMIT_ROW });
    expect(rows).toHaveLength(6);
    expect(rows).toEqual(Array(6).fill(rows[0]));
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });
});

onBothDatabases("a month's limit", (db) => {
  asTheDatabase(db);

  test("of one cent lets one cent through, also after links end and the user connects again under other ids", async () => {
    const it = await connecting(db());
    const ledger = openLedger(db());
    let charged = 0n;
    /** Sends requests of 2,494 credits until one is refused. */
    const spendAll = async (externalUserId: string) => {
      for (;;) {
        const verdict = await ledger.hold(it.request(externalUserId, 2_494n));
        if (verdict.kind !== "held") return verdict;
        const settled = await ledger.settle(settlement(verdict.id, 2_494n), 60_000);
        if (settled.kind === "settled") charged += settled.charged;
      }
    };
    await it.connect("first", 10_000n);
    expect(await spendAll("first")).toMatchObject({ reason: "spending_limit_reached" });
    expect(charged).toBe(9_976n);
    await transaction((tx) => unlink(tx, it.app.id, "first", "app"), db());
    await it.connect("second", 10_000n);
    expect(await it.state("second")).toEqual({ limit: 10_000n, spent: 9_976n });
    expect(await spendAll("second")).toMatchObject({ reason: "spending_limit_reached", available: 24n });
    const [row] = await it.rows();
    await createCaller({ user: it.person }).wallet.disconnect({ linkId: row?.id ?? "" });
    await it.connect("third", 10_000n);
    expect(await spendAll("third")).toMatchObject({ reason: "spending_limit_reached", available: 24n });
    expect(charged).toBe(9_976n);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("of two dollars that is removed in the wallet and set again reports what was spent with it and without", async () => {
    const it = await connecting(db());
    const { id } = await it.connect("a", 2_000_000n);
    await it.spend("a", 234n);
    const { wallet } = createCaller({ user: it.person });
    const shown = async () => (await wallet.connectedApps()).map(({ limit, spent }) => ({ limit, spent }));
    expect(await shown()).toEqual([{ limit: 2_000_000n, spent: 234n }]);
    await wallet.setLimit({ linkId: id, monthlyLimit: null });
    expect(await shown()).toEqual([{ limit: null, spent: 234n }]);
    // An app gets limit and spending only while there is a limit.
    expect(await it.state("a")).toEqual({ limit: undefined, spent: undefined });
    await wallet.setLimit({ linkId: id, monthlyLimit: 2_000_000n });
    expect(await shown()).toEqual([{ limit: 2_000_000n, spent: 234n }]);
    expect(await it.state("a")).toEqual({ limit: 2_000_000n, spent: 234n });
    const owner = createCaller({ user: await db().prisma.user.findUniqueOrThrow({ where: { id: it.app.ownerId } }) });
    expect(await owner.linkedUsers.get({ appId: it.app.id, linkedUserId: id })).toMatchObject({
      limit: { limit: 2_000_000n, spent: 234n },
    });
    // Also after the link has ended.
    await wallet.disconnect({ linkId: id });
    await it.connect("b", null);
    expect(await shown()).toEqual([{ limit: null, spent: 234n }]);
    await it.connect("b", 1_000n);
    expect(await shown()).toEqual([{ limit: 1_000n, spent: 234n }]);
  });

  const ways: Record<string, (it: Awaited<ReturnType<typeof connecting>>) => Promise<string | { token: string }>> = {
    "the same id": async (it) => {
      await transaction((tx) => unlink(tx, it.app.id, "a", "user"), db());
      await it.connect("a", 1_000n);
      return "a";
    },
    "an id beside the first, which then ends": async (it) => {
      await it.connect("b", 1_000n);
      await transaction((tx) => unlink(tx, it.app.id, "a", "app"), db());
      return "b";
    },
    "no limit first, and a limit afterwards": async (it) => {
      await transaction((tx) => unlink(tx, it.app.id, "a", "app"), db());
      await it.connect("b", null);
      await it.connect("b", 1_000n);
      return "b";
    },
    "a token": async (it) => {
      await transaction((tx) => unlink(tx, it.app.id, "a", "user"), db());
      const { id } = await it.byToken(1_000n);
      return { token: id };
    },
    "a token whose connection expired, and another one": async (it) => {
      const { id, externalUserId } = await it.byToken(1_000n);
      await transaction((tx) => unlink(tx, it.app.id, "a", "user"), db());
      await transaction((tx) => endLink(tx, { id, appId: it.app.id, userId: it.person.id, externalUserId }, "expired"), db());
      return { token: (await it.byToken(1_000n)).id };
    },
    "an id that was linked to another wallet in between": async (it) => {
      const other = await makeUser(db(), { credits: 1_000n });
      await transaction((tx) => link(tx, "a", { ...it.agreement(700n), userId: other.id }), db());
      expect(await it.state("a")).toEqual({ limit: 700n, spent: 0n });
      await it.connect("a", 1_000n);
      return "a";
    },
    "a pause": async (it) => {
      const [row] = await it.rows();
      const { wallet } = createCaller({ user: it.person });
      await wallet.pause({ linkId: row?.id ?? "" });
      await wallet.setLimit({ linkId: row?.id ?? "", monthlyLimit: null });
      await wallet.setLimit({ linkId: row?.id ?? "", monthlyLimit: 1_000n });
      await wallet.resume({ linkId: row?.id ?? "" });
      return "a";
    },
  };
  test.each(Object.entries(ways))("counts what earlier links spent and hold, after connecting again with %s", async (_way, again) => {
    const it = await connecting(db());
    await it.connect("a", 1_000n);
    await it.spend("a", 300n);
    const open = await holdOne(db().sql, it.request("a", 500n));
    const way = await again(it);
    const request = async (amount: bigint) => {
      if (typeof way === "string") return it.request(way, amount);
      const { hash } = await makeToken(db(), { id: way.token, appId: it.app.id, userId: it.person.id });
      return holdRequest({ hash }, { byToken: true, amount });
    };
    const ledger = openLedger(db());
    expect(await ledger.hold(await request(201n))).toMatchObject({ kind: "refused" });
    // What the open request returns can be spent; what it spends can't.
    await settle(db().sql, [settlement(open.id, 100n)]);
    expect(await ledger.hold(await request(601n))).toMatchObject({ kind: "refused", reason: "spending_limit_reached" });
    expect(await ledger.hold(await request(600n))).toMatchObject({ kind: "held", amount: 600n });
    const [row] = await it.rows();
    expect(await linkLimit(db(), row?.id ?? "")).toEqual({ limit: 1_000n, spent: 400n });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("that is raised by a new connection leaves the difference, and all of it in the next month", async () => {
    const it = await connecting(db());
    await it.connect("a", 500n);
    await it.spend("a", 500n);
    await transaction((tx) => unlink(tx, it.app.id, "a", "app"), db());
    await it.connect("b", 800n);
    const ledger = openLedger(db());
    expect(await ledger.hold(it.request("b", 301n))).toMatchObject({ reason: "spending_limit_reached" });
    await passMonth(db(), { appId: it.app.id, userId: it.person.id, walletId: it.person.walletId });
    expect(await it.state("b")).toEqual({ limit: 800n, spent: 0n });
    expect(await ledger.hold(it.request("b", 800n))).toMatchObject({ kind: "held", amount: 800n });
  });

  test("is not exceeded while connections end and begin, the limit is changed, and the app sends requests", async () => {
    const it = await connecting(db());
    await it.connect("id 0", 1_000n);
    const ledger = openLedger(db());
    const names = ["id 0"];
    let charged = 0n;
    let over = false;
    const ask = async () => {
      while (!over) {
        const verdict = await ledger.hold(it.request(names.at(-1) ?? "", 37n));
        if (verdict.kind !== "held") continue;
        const settled = await ledger.settle(settlement(verdict.id, 31n), 60_000);
        if (settled.kind === "settled") charged += settled.charged;
      }
    };
    const change = async () => {
      for (let turn = 1; turn <= 12; turn++) {
        const name = `id ${turn}`;
        if (turn % 3 !== 0) await transaction((tx) => unlink(tx, it.app.id, names.at(-1) ?? "", turn % 2 === 0 ? "app" : "user"), db());
        await it.connect(name, 1_000n);
        names.push(name);
        const [row] = await it.rows();
        await transaction((tx) => setLimit(tx, row?.id ?? "", turn % 4 === 0 ? 400n : 1_000n), db());
      }
      over = true;
    };
    await Promise.all([...Array.from({ length: 6 }, ask), change()]);
    expect(charged).toBeLessThanOrEqual(1_000n);
    expect(await it.state(names.at(-1) ?? "")).toEqual({ limit: 400n, spent: charged });
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });
});
