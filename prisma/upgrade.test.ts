import { createHash } from "node:crypto";
import { afterAll, describe, expect, inject, test } from "vitest";
import { link, setModels } from "../src/server/connect/linked-users.ts";
import { openAccount, platformAccount } from "../src/server/ledger/accounts.ts";
import { type HoldVerdict, hold, settle } from "../src/server/ledger/hold.ts";
import { setLimit } from "../src/server/ledger/limits.ts";
import { transfer } from "../src/server/ledger/transfer.ts";
import { verify } from "../src/server/ledger/verify.ts";
import { type Database, openDatabase, transaction } from "../src/server/platform/db.ts";
import { newId } from "../src/server/platform/ids.ts";
import { holdRequest, settlement } from "../src/testing/ledger-requests.ts";
import { functionsOf } from "../src/testing/mutant.ts";
import { freshDatabase } from "../src/testing/postgres.ts";
import { migrate } from "./migrate.ts";

/** The last migrations of earlier versions. */
const VERSIONS = {
  "the version before": "20261129020500_growth_does_not_wait_for_itself",
  "the version before that": "20261122120000_one_limit_for_an_app",
};

for (const kind of ["embedded", "postgres"] as const) {
  const opened: (() => Promise<void>)[] = [];
  afterAll(async () => {
    for (const close of opened) await close();
  });
  async function databaseOf(upTo?: string): Promise<Database> {
    const fresh = kind === "postgres" ? await freshDatabase(inject("postgresUrl")) : undefined;
    const db = await openDatabase({ url: fresh?.url });
    opened.push(async () => {
      await db.close();
      await fresh?.drop();
    });
    await migrate(db, upTo === undefined ? {} : { upTo });
    return db;
  }

  describe.each(Object.entries(VERSIONS))(`a database made by %s, ${kind}`, (_, upTo) => {
    test("has the functions of a new database after its update: names, parameters, results and bodies", async () => {
      const [updated, fresh] = [await databaseOf(upTo), await databaseOf()];
      await migrate(updated);
      expect(await functionsOf(updated)).toEqual(await functionsOf(fresh));
    });

    test("starts with this one: its books verify, its open holds settle, and servers of its version keep working", async () => {
      const db = await databaseOf(upTo);
      const it = await shop(db);
      const [resolved, open] = [await it.hold(100n), await it.hold(200n)];
      expect([resolved.verdict, open.verdict]).toEqual([0, 0]);
      expect(await it.settle(resolved.id, 60n)).toMatchObject({ settled: 0, charged: "60" });

      const applied = await migrate(db);
      expect(applied).toContain("ledger/sql/post.sql");
      expect(await migrate(db)).toEqual([]);
      expect((await verify(db.sql)).discrepancies).toEqual([]);

      // This version settles holds of the version before.
      expect(await settle(db.sql, [settlement(open.id, 150n), settlement(resolved.id, 1n)])).toEqual([
        { kind: "settled", charged: 150n, balanceAfter: 790n },
        { kind: "already_resolved" },
      ]);
      const [held] = await hold(db.sql, [holdRequest(it, { externalUserId: it.externalUserId, amount: 100n })]);
      expect(held).toMatchObject({ kind: "held", amount: 110n, payer: { limitId: it.limitId, markupBps: 1_000 } });
      const reservation = held as { id: string };

      // The version before settles and holds beside this one, by its own functions and verdict numbers.
      expect(await it.settle(reservation.id, 110n)).toMatchObject({ settled: 0, charged: "110", balance: "680" });
      expect(await it.settle(reservation.id, 1n)).toMatchObject({ settled: 1 });
      expect(await it.settle(newId(), 1n)).toMatchObject({ settled: 2 });
      expect(await it.hold(10n)).toMatchObject({ verdict: 0, granted: "11", modes: "user" });
      expect(await it.hold(10n, "nobody")).toMatchObject({ verdict: 3 });
      expect(await it.hold(10_000n)).toMatchObject({ verdict: 5 });
      expect(await it.hold(400n)).toMatchObject({ verdict: 6, needed: "440" });
      const batch = await it.batch([it.externalUserId, "nobody"]);
      expect(batch).toMatchObject({ verdict: [0, 3], granted: ["11", null], modes: ["user", "user"] });
      expect((await verify(db.sql)).discrepancies).toEqual([]);
    });
  });

  test(`servers of the version before get answers from their functions, with their verdict numbers, ${kind}`, async () => {
    const db = await databaseOf(VERSIONS["the version before"]);
    const it = await shop(db);
    const before = asTheVersionBefore(db, it);
    const opened = await before.hold(100n);
    expect(opened).toMatchObject({ verdict: 0, granted: "110", modes: "user", markups: 1_000, locked: null });
    await migrate(db);

    expect(await before.grow(opened.id, 50n)).toEqual({ verdict: [0], granted: ["50"], locked: [null] });
    expect(await before.grow(newId(), 50n)).toMatchObject({ verdict: [1] });
    expect(await before.grow(opened.id, 450n)).toMatchObject({ verdict: [6], granted: [null] });
    expect(await before.hold(500n)).toMatchObject({ verdict: 10, can_spend: "440", released: "600" });
    expect(await before.hold(600n)).toMatchObject({ verdict: 6 });
    expect(await before.hold(1_000n)).toMatchObject({ verdict: 5 });
    expect(await before.hold(1n, { user: "nobody" })).toMatchObject({ verdict: 3 });
    expect(await before.hold(1n, { hash: Buffer.alloc(32) })).toMatchObject({ verdict: 1 });
    expect(await before.settle(opened.id, 120n)).toMatchObject({ settled: 0, charged: "120", balance: "880", settle_locked: null });
    expect(await before.settle(opened.id, 120n)).toMatchObject({ settled: 1 });
    expect(await before.settle(newId(), 1n)).toMatchObject({ settled: 2 });
    expect(await before.grow(opened.id, 50n)).toMatchObject({ verdict: [1] });

    const held = await before.hold(10n);
    expect(await before.batch([held.id, newId()], [it.externalUserId, "nobody"])).toMatchObject({
      settled: [0, 2],
      verdict: [0, 3],
      granted: ["11", null],
      modes: ["user", "user"],
    });
    if (kind === "postgres") {
      const last = await before.hold(10n);
      await transaction(async (tx) => {
        await tx.prisma.$queryRaw`SELECT id FROM account WHERE id = ${it.limitId}::uuid FOR UPDATE`;
        const locked = it.limitId;
        expect(await before.hold(10n)).toMatchObject({ verdict: 9, locked });
        expect(await before.grow(last.id, 10n)).toMatchObject({ verdict: [9], locked: [locked] });
        expect(await before.settle(last.id, 10n)).toMatchObject({ settled: 9, settle_locked: locked });
        expect(await before.batch([last.id], [it.externalUserId])).toMatchObject({
          settled: [9],
          verdict: [9],
          locked: [locked],
          settle_locked: [locked],
        });
      }, db);
    }
    expect((await verify(db.sql)).discrepancies).toEqual([]);
  });
}

for (const kind of ["embedded", "postgres"] as const) {
  test(`an agreement is the same for this version and for servers of the version before, changed by either, ${kind}`, async () => {
    const fresh = kind === "postgres" ? await freshDatabase(inject("postgresUrl")) : undefined;
    const db = await openDatabase({ url: fresh?.url });
    try {
      await migrate(db, { upTo: VERSIONS["the version before"] });
      const it = await shop(db);
      const one = async (text: string, parameters: readonly unknown[] = []) =>
        (await db.sql.query({ name: "", text }, parameters))[0] ?? {};
      const copies = (externalUserId: string, markup: number, scope = "credits.read credits.spend") =>
        one(
          `INSERT INTO linked_user (id, app_id, user_id, wallet_id, external_user_id, agreed_markup_bps, limit_id, monthly_limit, limit_period_ends_at,
            allowed_models, scope)
          SELECT $2::uuid, app_id, user_id, wallet_id, $3, $4::int, limit_id, monthly_limit, limit_period_ends_at, allowed_models, $5
          FROM linked_user WHERE id = $1::uuid`,
          [it.linkId, newId(), externalUserId, markup, scope],
        );
      await copies("second", 500);
      await copies("reads only", 0, "credits.read");
      await migrate(db);

      const of = { userId_appId: { userId: it.userId, appId: it.appId } };
      const agreement = () => db.prisma.agreement.findUniqueOrThrow({ where: of });
      const seen = async () => {
        const { discrepancies } = await verify(db.sql);
        expect(discrepancies).toEqual([]);
        return (
          await one(
            `SELECT json_agg(DISTINCT jsonb_build_array(monthly_limit, limit_id, allowed_models, agreed_markup_bps)) AS seen FROM linked_user
          WHERE user_id = $1::uuid AND app_id = $2::uuid`,
            [it.userId, it.appId],
          )
        ).seen;
      };
      const ask = async (amount: bigint, user = it.externalUserId) =>
        (await hold(db.sql, [holdRequest(it, { externalUserId: user, amount })]))[0];
      const give = async (verdict: HoldVerdict | undefined) =>
        verdict?.kind === "held" ? settle(db.sql, [settlement(verdict.id, 0n)]) : undefined;

      // The least markup that the person agreed to with a link that may spend, and the limit that there was.
      expect(await agreement()).toMatchObject({ monthlyLimit: 600n, limitId: it.limitId, agreedMarkupBps: 500, allowedModels: [] });
      expect(await seen()).toEqual([[600, it.limitId, [], 500]]);

      // The version before changes links and its columns of the agreement.
      await one(`UPDATE linked_user SET agreed_markup_bps = 800 WHERE id = $1::uuid`, [it.linkId]);
      await one(`UPDATE linked_user SET allowed_models = '{test/small}' WHERE user_id = $1::uuid AND app_id = $2::uuid`, [
        it.userId,
        it.appId,
      ]);
      expect(await agreement()).toMatchObject({ monthlyLimit: 600n, allowedModels: ["test/small"], agreedMarkupBps: 800 });
      expect(await seen()).toEqual([[600, it.limitId, ["test/small"], 800]]);
      const held = await ask(100n, "second");
      expect(held).toMatchObject({ kind: "held", amount: 108n, payer: { markupBps: 800, limitId: it.limitId } });
      await give(held);
      expect(await ask(601n)).toMatchObject({ kind: "refused", reason: "spending_limit_reached" });
      await one(
        `UPDATE linked_user SET limit_id = NULL, monthly_limit = NULL, limit_period_ends_at = NULL WHERE user_id = $1::uuid AND app_id = $2::uuid`,
        [it.userId, it.appId],
      );
      const unlimited = await ask(601n, "second");
      expect(unlimited).toMatchObject({ kind: "held", payer: { limitId: null } });
      await give(unlimited);
      expect(await agreement()).toMatchObject({ monthlyLimit: null, limitId: it.limitId });

      // Setting and removing a limit, it writes to links first, and then to its columns of the agreement.
      for (const limit of ["600", null]) {
        await transaction(async (tx) => {
          await tx.query(
            {
              name: "",
              text: `UPDATE linked_user SET limit_id = CASE WHEN $3::bigint IS NOT NULL THEN $4::uuid END, monthly_limit = $3::bigint,
                limit_period_ends_at = CASE WHEN $3::bigint IS NOT NULL THEN date_trunc('month', now(), 'UTC') + interval '1 month' END
                WHERE user_id = $1::uuid AND app_id = $2::uuid`,
            },
            [it.userId, it.appId, limit, it.limitId],
          );
          await tx.query(
            {
              name: "",
              text: `UPDATE agreement SET monthly_limit = $3::bigint, limit_id = $4::uuid, limit_former_ids = '{}', limit_elsewhere = 0,
                limit_elsewhere_holds = '{}' WHERE user_id = $1::uuid AND app_id = $2::uuid`,
            },
            [it.userId, it.appId, limit, it.limitId],
          );
        }, db);
        const monthlyLimit = limit === null ? null : BigInt(limit);
        expect(await agreement()).toMatchObject({ monthlyLimit, limitId: it.limitId });
        expect(await seen()).toEqual([[limit === null ? null : 600, limit === null ? null : it.limitId, ["test/small"], 800]]);
      }

      // This version changes the agreement, and the version before reads it on every link, also on those that either makes.
      await transaction((tx) => setLimit(tx, it.linkId, 300n), db);
      await transaction((tx) => setModels(tx, { userId: it.userId, appId: it.appId }, []), db);
      await copies("third", 700);
      const terms = {
        appId: it.appId,
        userId: it.userId,
        scope: "credits.spend",
        monthlyLimit: 400n,
        allowedModels: ["test/small"],
        agreedMarkupBps: 600,
      };
      expect(await seen()).toEqual([[300, it.limitId, [], 700]]);
      await transaction((tx) => link(tx, "fourth", terms), db);
      expect(await seen()).toEqual([[400, it.limitId, ["test/small"], 600]]);
      expect(await it.hold(401n)).toMatchObject({ verdict: 4 });
      for (const user of ["second", "fourth"])
        expect(await ask(401n, user)).toMatchObject({ kind: "refused", reason: "spending_limit_reached", payer: { markupBps: 600 } });
    } finally {
      await db.close();
      await fresh?.drop();
    }
  });
}

/** Calls the functions of the version before as its servers do: with shares and growth, without waiting for locks. */
function asTheVersionBefore(db: Database, { hash, externalUserId }: { hash: Uint8Array; externalUserId: string }) {
  const one = async (text: string, parameters: readonly unknown[]) => (await db.sql.query({ name: "", text }, parameters))[0] ?? {};
  return {
    hold: async (amount: bigint, { user = externalUserId, hash: credential = hash }: { user?: string; hash?: Uint8Array } = {}) => {
      const id = newId();
      const row = await one(
        `SELECT verdict, granted::text, can_spend::text, released::text, modes, markups, locked::text
        FROM ledger_hold_one($1::uuid, $2::bytea, $3::text, $4::bigint, $4::bigint, 'm', 60000, $4::bigint, true, true)`,
        [id, credential, user, String(amount)],
      );
      return { id, ...row } as { id: string } & Record<string, unknown>;
    },
    grow: (holdId: string, amount: bigint) =>
      one(
        `SELECT verdict, granted::text[], locked::text[] FROM ledger_grow(ARRAY[$1::uuid], ARRAY[$2::uuid], ARRAY[$3::bigint], ARRAY[$3::bigint], true)`,
        [newId(), holdId, String(amount)],
      ),
    settle: (id: string, base: bigint) =>
      one(
        `SELECT settled, charged::text, balance::text, settle_locked::text
        FROM ledger_settle_one($1::uuid, $2::bigint, 0, 'completed', '', NULL, 0, 0, 0, NULL, false, NULL, 0, $3::uuid, true)`,
        [id, String(base), newId()],
      ),
    batch: (ids: readonly string[], users: readonly string[]) => {
      const each = (array: string, value: string) => `array_fill(${value}, ARRAY[cardinality(${array})])`;
      const settlements = (value: string) => each("$1::uuid[]", value);
      const holds = (value: string) => each("$4::text[]", value);
      return one(
        `SELECT settled, verdict, granted::text[], modes, locked::text[], settle_locked::text[] FROM ledger_post(
          $1::uuid[], ${settlements("1::bigint")}, ${settlements("0::bigint")}, ${settlements("'completed'::text")}, ${settlements("''::text")},
          ${settlements("NULL::text")}, ${settlements("0")}, ${settlements("0")}, ${settlements("0")}, ${settlements("NULL::text")},
          ${settlements("false")}, ${settlements("NULL::int")}, ${settlements("0")}, $5::uuid,
          $2::uuid[], ${holds("$3::bytea")}, ${holds("false")}, $4::text[], ${holds("10::bigint")}, ${holds("10::bigint")},
          ${holds("'m'::text")}, ${holds("60000")}, ${holds("10::bigint")}, ${holds("false")}, true)`,
        [ids, users.map(newId), hash, users, newId()],
      );
    },
  };
}

/** Data in a database of the version before, made and read by SQL, because this version's client does not fit it. */
async function shop(db: Database) {
  const one = async (text: string, parameters: readonly unknown[] = []) => (await db.sql.query({ name: "", text }, parameters))[0] ?? {};
  const { walletId, limitId, earningsId, sandboxId } = await transaction(
    async (tx) => ({
      walletId: await openAccount(tx, "wallet"),
      limitId: await openAccount(tx, "limit"),
      earningsId: await openAccount(tx, "earnings"),
      sandboxId: await openAccount(tx, "sandbox_wallet"),
    }),
    db,
  );
  const gift = { id: newId(), debitId: platformAccount.promotions, creditId: walletId, amount: 1_000n };
  const allowance = { id: newId(), debitId: platformAccount.allowance, creditId: limitId, amount: 600n };
  await transfer(db.sql, { ...gift, reason: "grant" });
  await transfer(db.sql, { ...allowance, reason: "allowance" });
  const [userId, appId, keyId, linkId] = [newId(), newId(), newId(), newId()];
  const hash = createHash("sha256").update(keyId).digest();
  const externalUserId = "their user";
  await one(`INSERT INTO "user" (id, email, wallet_id) VALUES ($1::uuid, $2, $3::uuid)`, [userId, `${userId}@example.com`, walletId]);
  await one(
    `INSERT INTO app (id, owner_id, name, markup_bps, earnings_id, sandbox_wallet_id, client_id, client_secret_hash, client_secret_fragment)
    VALUES ($1::uuid, $2::uuid, 'App', 2000, $3::uuid, $4::uuid, $5, '', '')`,
    [appId, userId, earningsId, sandboxId, appId],
  );
  await one(`INSERT INTO api_key (id, app_id, name, hash, fragment) VALUES ($1::uuid, $2::uuid, 'Key', $3::bytea, '')`, [
    keyId,
    appId,
    hash,
  ]);
  await one(
    `INSERT INTO linked_user (id, app_id, user_id, wallet_id, external_user_id, agreed_markup_bps, limit_id, monthly_limit, limit_period_ends_at)
    VALUES ($1::uuid, $2::uuid, $3::uuid, $4::uuid, $5, 1000, $6::uuid, 600, date_trunc('month', now() AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC')`,
    [linkId, appId, userId, walletId, externalUserId, limitId],
  );
  return {
    hash,
    externalUserId,
    limitId,
    linkId,
    userId,
    appId,
    hold: async (amount: bigint, user = externalUserId) => {
      const id = newId();
      const row = await one(
        `SELECT verdict, granted::text, needed::text, modes FROM ledger_hold_one($1::uuid, $2::bytea, $3::text, $4::bigint, $4::bigint, 'm', 60000)`,
        [id, hash, user, String(amount)],
      );
      return { id, ...row } as { id: string } & Record<string, unknown>;
    },
    settle: (id: string, base: bigint) =>
      one(
        `SELECT settled, charged::text, balance::text FROM ledger_settle_one($1::uuid, $2::bigint, 0, 'completed', '', NULL, 0, 0, 0, NULL, false, NULL, 0, $3::uuid)`,
        [id, String(base), newId()],
      ),
    batch: (users: readonly string[]) =>
      one(
        `SELECT verdict, granted::text[], modes FROM ledger_post('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', $1::uuid, $2::uuid[],
          array_fill($3::bytea, ARRAY[cardinality($4::text[])]), array_fill(false, ARRAY[cardinality($4::text[])]), $4::text[],
          array_fill(10::bigint, ARRAY[cardinality($4::text[])]), array_fill(10::bigint, ARRAY[cardinality($4::text[])]),
          array_fill('m'::text, ARRAY[cardinality($4::text[])]), array_fill(60000, ARRAY[cardinality($4::text[])]))`,
        [newId(), users.map(newId), hash, users],
      ),
  };
}
