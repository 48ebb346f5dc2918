import { PrismaPg } from "@prisma/adapter-pg";
import pg from "pg";
import { v7 as uuidv7 } from "uuid";
import { describe, expect, inject, test } from "vitest";
import { inEveryZone, withDatabase } from "#testing/database.ts";
import { chance } from "#testing/ledger-requests.ts";
import { freshDatabase, ZONES } from "#testing/postgres.ts";
import { migrate } from "../../../prisma/migrate.ts";
import { PrismaClient, type Usage } from "../../generated/prisma/client.ts";
import { type Database, openDatabase } from "../platform/db.ts";
import { requests } from "./dashboard.ts";
import { sumRequests, sumUsage, type UsageGrouping } from "./reports.ts";
import { foldUsage, refoldUsage } from "./rollup.ts";
import { monthsAndDays, sumsByHour, sumsByUser, sumsOfUserByDay } from "./sums.ts";

const HOUR = 60 * 60 * 1000;
// Noon of a past day.
const NOON = Date.UTC(2026, 2, 10, 12);

/** Requests of one app around midnight and full hours, with users, models, keys, failures and sandbox credits; some are settled long after they began. */
async function makeUsage(db: Database, options: { rows: number; seed: number; around?: number }) {
  const below = chance(options.seed);
  const appId = uuidv7();
  const keys = [uuidv7(), uuidv7()];
  const wallets = [uuidv7(), uuidv7(), uuidv7()];
  const edges = [-13 * HOUR, -12 * HOUR, -12 * HOUR + 1, -1, 0, HOUR - 1, HOUR, 12 * HOUR - 1, 12 * HOUR, 13 * HOUR + 7];
  const rows = Array.from({ length: options.rows }, () => {
    const at = (options.around ?? NOON) + (edges[below(edges.length)] as number) + (below(3) === 0 ? 0 : below(HOUR));
    const user = below(4);
    const outcome = (["completed", "completed", "interrupted", "failed", "swept"] as const)[below(5)] ?? "completed";
    const free = outcome === "failed" || outcome === "swept";
    return {
      id: uuidv7({ msecs: at - below(10 * 60_000) }),
      appId,
      // Null: a request with a user's access token.
      apiKeyId: keys[below(3)] ?? null,
      externalUserId: user === 3 ? null : `user_${user}`,
      billingMode: below(6) === 0 ? ("test" as const) : ("user" as const),
      walletId: wallets[user] ?? (wallets[0] as string),
      revenueId: uuidv7(),
      earningsId: uuidv7(),
      held: 10_000n,
      base: free ? 0n : BigInt(below(5_000)),
      markup: free ? 0n : BigInt(below(5_000)),
      outcome,
      endpoint: "/v1/chat/completions",
      model: ["gpt-4o", "gpt-4o-mini", "o3"][below(3)] as string,
      promptTokens: below(1_000),
      completionTokens: below(1_000),
      createdAt: new Date(at),
    };
  });
  await db.prisma.usage.createMany({ data: rows });
  return { appId, keys, rows: await db.prisma.usage.findMany({ where: { appId } }) };
}

/** Deletes all sums, so that a test may create requests of the past. */
async function unfold(db: Database): Promise<void> {
  await db.prisma.usageHour.deleteMany();
  await db.prisma.usageUserDay.deleteMany();
  await db.prisma.usageUserMonth.deleteMany();
  await db.prisma.usageFold.update({ where: { id: 1 }, data: { until: new Date(0), tailId: "00000000-0000-0000-0000-000000000000" } });
}

/** The same sums, computed in memory from all rows. */
function expected(rows: Usage[], of: (row: Usage) => string | null) {
  const groups = Map.groupBy(rows, of);
  return new Map(
    [...groups].map(([group, each]) => {
      const billed = each.filter((row) => row.outcome === "completed" || row.outcome === "interrupted");
      return [
        group,
        {
          requests: billed.length,
          failed: each.length - billed.length,
          promptTokens: billed.reduce((sum, row) => sum + row.promptTokens, 0),
          completionTokens: billed.reduce((sum, row) => sum + row.completionTokens, 0),
          base: billed.reduce((sum, row) => sum + row.base, 0n),
          markup: billed.reduce((sum, row) => sum + row.markup, 0n),
        },
      ];
    }),
  );
}

function found(groups: { group: string | null }[]) {
  return new Map(groups.map(({ group, ...sums }) => [group, withoutLast(sums)]));
}

function withoutLast(sums: object) {
  const { lastAt: _, ...rest } = sums as { lastAt?: Date };
  return rest;
}

const day = (row: Usage) => row.createdAt.toISOString().slice(0, 10);

test("a span of time is its whole months, with days added and subtracted at its edges", () => {
  const at = (text: string) => new Date(`${text}T00:00:00Z`);
  const days = [
    ["2026-01-03", "2026-03-20"],
    ["2026-01-01", "2026-02-01"],
    ["2026-01-20", "2026-02-10"],
    ["2026-02-10", "2026-02-12"],
    ["2026-01-20", "2026-02-20"],
    ["2025-12-25", "2026-01-05"],
  ] as const;
  for (const [from, to] of days) {
    const parts = monthsAndDays({ from: at(from), to: at(to) });
    for (let day = at("2025-11-01").getTime(); day < at("2026-05-01").getTime(); day += 24 * HOUR) {
      const has = (span: { from: Date; to: Date }) => day >= span.from.getTime() && day < span.to.getTime();
      const times = Number(has(parts.months)) + parts.days.filter(has).reduce((sum, { sign }) => sum + sign, 0);
      expect(times).toBe(Number(has({ from: at(from), to: at(to) })));
    }
  }
});

inEveryZone("sums of usage", (db) => {
  describe("are exact", () => {
    // Nothing folded, everything folded, and folded up to some moment, twice.
    test.each([
      ["before anything is folded", []],
      ["when all of it is folded", [NOON + 48 * HOUR]],
      ["when some of it is folded, in steps that cut hours and days", [NOON - 12 * HOUR + 1, NOON + 20 * 60_000, NOON + HOUR]],
    ])("%s", async (_, steps) => {
      await unfold(db());
      const { appId, keys, rows } = await makeUsage(db(), { rows: 400, seed: 7 + steps.length });
      for (const upTo of steps) await foldUsage(db(), { upTo: new Date(upTo) });
      for (const sandbox of [false, true]) {
        const mine = rows.filter((row) => (row.billingMode === "test") === sandbox);
        const of = { appId, sandbox };
        expect(found(await sumsByHour(db().sql, of, "day"))).toEqual(expected(mine, day));
        expect(found(await sumsByHour(db().sql, of, "model"))).toEqual(expected(mine, (row) => row.model));
        expect(found(await sumsByHour(db().sql, of, "key"))).toEqual(expected(mine, (row) => row.apiKeyId));
        expect(found(await sumsByUser(db().sql, of, "user"))).toEqual(expected(mine, (row) => row.externalUserId));
        expect(found(await sumsByUser(db().sql, { ...of, externalUserIds: ["user_1"] }, "day"))).toEqual(
          expected(
            mine.filter((row) => row.externalUserId === "user_1"),
            day,
          ),
        );
        // From a full hour, for one model and key.
        const from = new Date(NOON);
        const narrowed = mine.filter((row) => row.createdAt >= from && row.model === "o3" && row.apiKeyId === keys[0]);
        expect(found(await sumsByHour(db().sql, { ...of, from, model: "o3", apiKeyId: keys[0] }, "hour"))).toEqual(
          expected(narrowed, (row) => `${row.createdAt.toISOString().slice(0, 13)}:00:00.000Z`),
        );
        const theirs = { ...of, from, model: "o3", apiKeyId: keys[0], externalUserId: "user_0" };
        expect(found(await sumsOfUserByDay(db().sql, theirs, "day"))).toEqual(
          expected(
            narrowed.filter((row) => row.externalUserId === "user_0"),
            day,
          ),
        );
        // The API's answers from sums are its answers from requests.
        const midnight = new Date(NOON - 12 * HOUR);
        for (const by of ["day", "model", "user", "all"] satisfies UsageGrouping[]) {
          for (const bounds of [
            {},
            { start: midnight },
            { end: midnight },
            { start: midnight, end: new Date(NOON + 12 * HOUR) },
            { start: from },
          ])
            for (const narrow of [{}, { model: "gpt-4o" }, { externalUserId: "user_2" }, { model: "gpt-4o", externalUserId: "user_2" }]) {
              const filter = { appId, test: sandbox, ...bounds, ...narrow };
              const nothing = (sum: { requests: number }) => sum.requests > 0;
              expect(await sumUsage(db(), filter, by)).toEqual((await sumRequests(db(), filter, by)).filter(nothing));
            }
        }
      }
    });

    test("when several processes fold at once, and after they are rebuilt", async () => {
      await refoldUsage(db());
      const { appId, rows } = await makeUsage(db(), { rows: 300, seed: 3, around: Date.now() + 30 * HOUR });
      const ends = [20, 24, 31, 40, 60].map((hours) => new Date(Date.now() + hours * HOUR));
      await Promise.all(ends.map((upTo) => foldUsage(db(), { upTo })));
      const real = rows.filter((row) => row.billingMode !== "test");
      expect(found(await sumsByHour(db().sql, { appId, sandbox: false }, "day"))).toEqual(expected(real, day));
      expect(found(await sumsByUser(db().sql, { appId, sandbox: false }, "day"))).toEqual(expected(real, day));
      await refoldUsage(db());
      expect(found(await sumsByHour(db().sql, { appId, sandbox: false }, "day"))).toEqual(expected(real, day));
    });
  });

  test("a list of requests finds every match, page by page, in order", async () => {
    await unfold(db());
    const { appId, keys, rows } = await makeUsage(db(), { rows: 200, seed: 11 });
    const newestFirst = rows.toSorted((a, b) => (a.id < b.id ? 1 : -1));
    const all = async (filter: object) => {
      const ids: string[] = [];
      let before: string | undefined;
      do {
        const page = await requests(db(), { appId, ...filter }, { before, take: 7 });
        ids.push(...page.items.map((item) => item.id));
        before = page.next ?? undefined;
      } while (before !== undefined);
      return ids;
    };
    const cases: [object, (row: Usage) => boolean][] = [
      [{}, () => true],
      [{ model: "o3" }, (row) => row.model === "o3"],
      [{ model: "o4" }, () => false],
      [{ outcome: "failed" }, (row) => row.outcome === "failed" || row.outcome === "swept"],
      [
        { outcome: "billed", apiKeyId: keys[1] },
        (row) => row.apiKeyId === keys[1] && row.base + row.markup >= 0n && !["failed", "swept"].includes(row.outcome),
      ],
      [{ externalUserId: "user_1", model: "gpt-4o" }, (row) => row.externalUserId === "user_1" && row.model === "gpt-4o"],
      [{ apiKeyId: null }, (row) => row.apiKeyId === null],
      [{ apiKeyId: null, externalUserId: "user_0" }, (row) => row.apiKeyId === null && row.externalUserId === "user_0"],
      [{ sandbox: true }, (row) => row.billingMode === "test"],
      [{ from: new Date(NOON), sandbox: false }, (row) => row.createdAt.getTime() >= NOON && row.billingMode !== "test"],
    ];
    for (const folded of [false, true]) {
      if (folded) await foldUsage(db(), { upTo: new Date(NOON + 100 * HOUR) });
      for (const [filter, matches] of cases) expect(await all(filter)).toEqual(newestFirst.filter(matches).map((row) => row.id));
    }
  });
});

describe("folding", () => {
  test.each(ZONES)("stops with an error and adds nothing on a connection whose time zone is %s", async (zone) => {
    const { url, drop } = await freshDatabase(inject("postgresUrl"), zone);
    const db = await openDatabase({ url });
    // A connection that does not set its time zone to UTC.
    const pool = new pg.Pool({ connectionString: url });
    const shifted = new PrismaClient({ adapter: new PrismaPg(pool) });
    try {
      await migrate(db);
      const { appId, rows } = await makeUsage(db, { rows: 50, seed: 5, around: Date.now() });
      const upTo = new Date(Date.now() + 60 * HOUR);
      await foldUsage(db, { upTo: new Date(Date.now() - 6 * HOUR) });
      await expect(foldUsage({ ...db, prisma: shifted }, { upTo })).rejects.toThrow("do not come on from");
      await foldUsage(db, { upTo });
      const real = rows.filter((row) => row.billingMode !== "test");
      expect(found(await sumsByHour(db.sql, { appId, sandbox: false }, "day"))).toEqual(expected(real, day));
    } finally {
      await shifted.$disconnect();
      await pool.end();
      await db.close();
      await drop();
    }
  });

  const db = withDatabase("embedded");

  test("ends after the given number of slices, and before the next slice when its signal is aborted", async () => {
    await makeUsage(db(), { rows: 50, seed: 6, around: Date.now() - 10 * 24 * HOUR });
    const until = async () => (await db().prisma.usageFold.findFirstOrThrow()).until.getTime();
    await foldUsage(db(), { slices: 1 });
    const first = await until();
    await foldUsage(db(), { signal: AbortSignal.abort() });
    expect(await until()).toBe(first);
    await foldUsage(db(), { slices: 1 });
    expect(await until()).toBeGreaterThan(first);
    expect(await until()).toBeLessThan(Date.now() - 9 * 24 * HOUR);
    await foldUsage(db());
    expect(await until()).toBeGreaterThan(Date.now() - HOUR);
  });
});
