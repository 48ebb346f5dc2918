import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { v7 as uuidv7 } from "uuid";
import { expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { LedgerModel, type ModelApp, type ModelKey, type ModelLink, type ModelToken } from "#testing/ledger-model.ts";
import { holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink, makeToken, makeUser, passMonth } from "#testing/makers.ts";
import { holdsInEveryRun } from "#testing/property.ts";
import { type Database, transaction } from "../platform/db.ts";
import { toBigInt } from "../platform/sql.ts";
import { balanceOf, foldDeltas, platformAccount } from "./accounts.ts";
import { Batcher } from "./batcher.ts";
import { type Growth, grow, type HoldRequest, type HoldVerdict, hold, type Locked, post, settle } from "./hold.ts";
import { openLedger } from "./ledger.ts";
import { lockAgreement, recountLimit, refillLimit, setLimit } from "./limits.ts";
import { sweepHolds } from "./sweep.ts";
import { transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

// Actions of the model. A number picks one of the things that exist at that moment, modulo their count.

const small = fc.nat({ max: 1_000 });
const credits = (max: number) => fc.integer({ min: 1, max }).map(BigInt);

const aRequest = fc.record({
  key: small,
  /** With an access token of a link instead of a key. */
  byToken: fc.constantFrom(false, false, false, true),
  user: fc.oneof(
    { weight: 5, arbitrary: small },
    { weight: 3, arbitrary: fc.constantFrom(null, "sandbox_empty", "sandbox_missing", `no"bo\\dy,{}`, "") },
  ),
  model: fc.constantFrom("a", "a", "a", "b"),
  desired: credits(160),
  /** How much of the desire is the minimum, in percent. */
  minimum: fc.constantFrom(0n, 20n, 100n),
  /** How much of it is modest, in percent; the hold takes an eighth of what is available when that is more. */
  modest: fc.constantFrom(100n, 100n, 40n, 10n),
  waits: fc.boolean(),
});
const aSettlement = fc.record({
  hold: small,
  base: fc.oneof(fc.constant(0n), credits(120), credits(400)),
  markup: fc.oneof(fc.constant(0n), credits(40)),
});
const aLimit = fc.oneof(
  { weight: 4, arbitrary: credits(400) },
  { weight: 2, arbitrary: credits(900) },
  { weight: 2, arbitrary: fc.constant(null) },
);
const aMarkup = fc.constantFrom(0, 1, 1_234, 10_000, 100_000);
/** Most of them allow spending. */
const aScope = fc.constantFrom(
  "credits.read credits.spend",
  "credits.read credits.spend",
  "openid credits.spend credits.read",
  "credits.spend",
  "credits.read",
  "openid",
);
const operation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("post" as const),
      settlements: fc.array(aSettlement, { maxLength: 6 }),
      requests: fc.array(aRequest, { maxLength: 8 }),
    }),
  },
  {
    weight: 9,
    arbitrary: fc.record({
      kind: fc.constant("hold" as const),
      requests: fc.array(aRequest, { minLength: 1, maxLength: 14 }),
      maxBatch: fc.constantFrom(1, 2, 5, 128),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("settle" as const),
      settlements: fc.array(aSettlement, { minLength: 1, maxLength: 10 }),
      alone: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("grow" as const),
      growths: fc.array(fc.record({ hold: small, desired: credits(80), minimum: fc.constantFrom(1n, 30n), again: fc.option(small) }), {
        minLength: 1,
        maxLength: 6,
      }),
      skipLocked: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("transfer" as const), from: small, to: small, amount: credits(200), again: fc.option(small) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("payOut" as const), app: small, amount: credits(60) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("setLimit" as const), link: small, limit: aLimit }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("recount" as const), link: small }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("connect" as const),
      /** The link whose user and app get a second link, with the same external id when that is free. */
      as: small,
      sameId: fc.boolean(),
      /** Undefined when the scope has no credits.spend: such a consent sets no limit. */
      limit: fc.oneof({ weight: 4, arbitrary: aLimit }, { weight: 1, arbitrary: fc.constant(undefined) }),
      agreed: aMarkup,
      scope: aScope,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("monthEnds" as const), refill: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("pause" as const), link: small }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("unlink" as const), link: small }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("revoke" as const), key: small }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("agree" as const), link: small, agreed: aMarkup, scope: aScope }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reprice" as const), app: small, markup: aMarkup }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("issue" as const), link: small, scope: aScope }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("endGrant" as const), link: small }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("verify" as const) }) },
);
type Linked = { id: string; appId: string; user: { id: string; walletId: string }; token: Token; model: ModelLink };
/** The newest access token for a link. */
type Token = { hash: Uint8Array; grantId: string; model: ModelToken };
type Made<A> = A extends fc.Arbitrary<infer T> ? T : never;
type Operation = Made<typeof operation>;
type ARequest = Made<typeof aRequest>;
type ASettlement = Made<typeof aSettlement>;

async function issue(db: Database, made: Parameters<typeof makeToken>[1], link: ModelLink, scope = link.scope): Promise<Token> {
  const { hash, grantId } = await makeToken(db, made, { scope });
  return { hash, grantId, model: { link, scope, valid: true } };
}

/** Three users, two apps of two of them, keys of every mode, and links that share wallets. */
async function world(db: Database, markups: readonly [number, number]) {
  const model = new LedgerModel({
    revenue: platformAccount.revenue,
    shortfall: platformAccount.shortfall,
    sandbox: platformAccount.sandbox,
    unbounded: new Set(Object.values(platformAccount)),
  });
  for (const id of Object.values(platformAccount)) model.account(id);
  await readInto(db, model);

  const people = await Promise.all([600n, 400n, 250n].map((amount) => makeUser(db, { credits: amount })));
  for (const [index, amount] of [600n, 400n, 250n].entries())
    model.transfer(`opening ${index}`, platformAccount.promotions, people[index]?.walletId ?? "", amount);

  const apps: { id: string; model: ModelApp }[] = [];
  const keys: { id: string | null; hash: Uint8Array; model: ModelKey | null }[] = [{ id: null, hash: randomBytes(32), model: null }];
  for (const [index, markupBps] of markups.entries()) {
    const owner = people[index];
    if (owner === undefined) throw new Error("more people than apps");
    const allowedModels = index === 0 ? [] : ["a"];
    const made = await makeApp(db, { ownerId: owner.id, markupBps, allowedModels });
    const app: ModelApp = {
      markupBps: BigInt(markupBps),
      allowedModels,
      owner: owner.walletId,
      sandbox: made.sandboxWalletId,
      earnings: made.earningsId,
    };
    apps.push({ id: made.id, model: app });
    const opening = { id: uuidv7(), debitId: platformAccount.sandbox, creditId: made.sandboxWalletId, amount: 150n };
    await transfer(db.sql, { ...opening, reason: "grant" });
    model.transfer(opening.id, opening.debitId, opening.creditId, opening.amount);
    model.account(made.earningsId);
    for (const mode of ["developer", "user", "test"] as const) {
      const key = await makeKey(db, made.id, mode);
      keys.push({ id: key.id, hash: key.hash, model: { app, mode, valid: true } });
    }
  }
  const links: Linked[] = [];
  for (const [app, person, externalUserId, monthlyLimit, allowedModels, agreedMarkupBps] of [
    [0, 1, `o'b"r\\ien,{🙂}`, 300n, [], 1_000],
    [0, 2, "plain", undefined, ["a", "c"], 100_000],
    [1, 2, "plain", 200n, [], 20_000],
    [1, 0, "NULL", 450n, [], 0],
    [1, 1, "x".repeat(255), undefined, [], 100_000],
  ] as const) {
    const [inApp, user] = [apps[app], people[person]];
    if (inApp === undefined || user === undefined) throw new Error("no such app or person");
    const made = await makeLink(db, inApp.id, user, {
      externalUserId,
      allowedModels: [...allowedModels],
      agreedMarkupBps,
      ...(monthlyLimit === undefined ? {} : { monthlyLimit }),
    });
    const link: ModelLink = {
      app: inApp.model,
      externalUserId,
      wallet: user.walletId,
      agreedMarkupBps: BigInt(agreedMarkupBps),
      scope: made.scope,
      allowedModels,
      paused: false,
    };
    model.links.push(link);
    if (monthlyLimit !== undefined) expect(model.setLimit(model.agreement(link), monthlyLimit, made.limitId)).toBe(null);
    links.push({ id: made.id, appId: inApp.id, user, token: await issue(db, made, link), model: link });
  }
  return { model, people, apps, keys, links };
}

/** Every account that the model has, as the database has it, with deltas that are not folded. */
async function balances(db: Database, model: LedgerModel): Promise<Map<string, { available: bigint; held: bigint }>> {
  const rows = await db.sql.query(
    {
      name: "test_balances",
      text: `SELECT a.id, a.available + coalesce((SELECT sum(d.amount) FROM account_delta d WHERE d.account_id = a.id), 0)::bigint AS available, a.held
        FROM account a WHERE a.id = ANY ($1::uuid[])`,
    },
    [`{${[...model.accounts.keys()].join(",")}}`],
  );
  return new Map(rows.map((row) => [String(row.id), { available: toBigInt(row.available), held: toBigInt(row.held) }]));
}

async function readInto(db: Database, model: LedgerModel): Promise<void> {
  for (const [id, balance] of await balances(db, model)) Object.assign(model.account(id), balance);
}

async function expectEqualBalances(db: Database, model: LedgerModel): Promise<void> {
  // Only the journal has entries of the allowance account, so the model leaves it out.
  const withoutAllowance = (accounts: Iterable<[string, { available: bigint; held: bigint }]>) =>
    Object.fromEntries([...accounts].filter(([id]) => id !== platformAccount.allowance).sort(([a], [b]) => (a < b ? -1 : 1)));
  expect(withoutAllowance(await balances(db, model))).toEqual(withoutAllowance(model.accounts));
}

async function run(db: Database, markups: readonly [number, number], operations: readonly Operation[]): Promise<void> {
  const { model, people, apps, keys, links } = await world(db, markups);
  const at = <T>(items: readonly T[], index: number): T => items[index % items.length] as T;
  const holds: string[] = [uuidv7()];
  const growths: Growth[] = [];
  const transfers: { id: string; debitId: string; creditId: string; amount: bigint }[] = [];
  /** What the database did to a limit, done to the model as well. */
  const agreed = async (link: Linked, monthly: bigint | null) => {
    const { limitId } = await db.prisma.linkedUser.findUniqueOrThrow({ where: { id: link.id }, select: { limitId: true } });
    expect(model.setLimit(model.agreement(link.model), monthly, limitId)).toBe(null);
  };
  /** An existing link for each agreement with a limit in force. */
  const limited = () =>
    model.agreements.flatMap((agreement) => {
      const link = links.find(({ model: each }) => model.linksOf(agreement).includes(each));
      return link === undefined || agreement.monthly === null ? [] : { agreement, link };
    });

  /** Requests, each with what the model needs to decide it. */
  const ask = (requests: readonly ARequest[]) =>
    requests.map((each) => {
      const key = at(keys, each.key);
      const link = typeof each.user === "number" ? at(links, each.user) : null;
      const minimumBase = (each.desired * each.minimum) / 100n;
      const terms = {
        model: each.model,
        desiredBase: each.desired,
        minimumBase: minimumBase > 0n ? minimumBase : 1n,
        modestBase: (each.desired * each.modest) / 100n,
        waits: each.waits,
      };
      if (each.byToken && link !== null) {
        const request = holdRequest(link.token, { byToken: true, ...terms });
        holds.push(request.id);
        return { request, asked: { ...request, credential: link.token.model } };
      }
      const externalUserId = link === null ? (each.user as string | null) : link.model.externalUserId;
      const request = holdRequest(key, { externalUserId, ...terms });
      holds.push(request.id);
      return { request, asked: { ...request, credential: key.model } };
    });
  const compare = (asked: ReturnType<typeof ask>, verdicts: readonly (HoldVerdict | Locked)[]) => {
    for (const [index, { request, asked: question }] of asked.entries()) {
      const expected = model.hold(question);
      expect(verdicts[index]).toMatchObject(
        expected.kind === "held"
          ? {
              kind: "held",
              id: request.id,
              amount: expected.amount,
              payer: {
                walletId: expected.wallet,
                limitId: expected.limit,
                markupBps: Number(expected.markupBps),
                mayReadBalance: expected.mayRead,
              },
            }
          : expected,
      );
    }
  };
  const settling = (settlements: readonly ASettlement[]) =>
    settlements.map((each) => ({ id: at(holds, each.hold), base: each.base, markup: each.markup }));

  for (const step of operations) {
    switch (step.kind) {
      case "post": {
        const settlements = settling(step.settlements);
        const asked = ask(step.requests);
        const answers = await post(
          db.sql,
          settlements.map(({ id, base, markup }) => settlement(id, base, markup)),
          asked.map(({ request }) => request),
        );
        expect(answers.settlements).toEqual(settlements.map(({ id, base, markup }) => model.settle(id, base, markup)));
        compare(asked, answers.holds);
        break;
      }
      case "hold": {
        const asked = ask(step.requests);
        const batcher = new Batcher<HoldRequest, HoldVerdict>((requests) => hold(db.sql, requests), { maxBatch: step.maxBatch });
        compare(asked, await Promise.all(asked.map(({ request }) => batcher.push(request))));
        break;
      }
      case "settle": {
        const batch = settling(step.settlements);
        const settlements = batch.map(({ id, base, markup }) => settlement(id, base, markup));
        const verdicts = [];
        if (step.alone) for (const each of settlements) verdicts.push(...(await settle(db.sql, [each])));
        else verdicts.push(...(await settle(db.sql, settlements)));
        expect(verdicts).toEqual(batch.map(({ id, base, markup }) => model.settle(id, base, markup)));
        break;
      }
      case "grow": {
        const asked = step.growths.map((each) => {
          const repeated = each.again === null || growths.length === 0 ? undefined : at(growths, each.again);
          const minimum = each.minimum < each.desired ? each.minimum : each.desired;
          const growth = repeated ?? { id: uuidv7(), holdId: at(holds, each.hold), desired: each.desired, minimum };
          growths.push(growth);
          return growth;
        });
        expect(await grow(db.sql, asked, { skipLocked: step.skipLocked })).toEqual(
          asked.map(({ id, holdId, desired, minimum }) => model.grow(id, holdId, desired, minimum)),
        );
        break;
      }
      case "transfer": {
        const sources = [platformAccount.world, platformAccount.promotions, ...people.map(({ walletId }) => walletId)];
        const targets = [...people.map(({ walletId }) => walletId), platformAccount.world, at(apps, step.to).model.sandbox];
        const repeated = step.again === null || transfers.length === 0 ? undefined : at(transfers, step.again);
        const move = repeated ?? { id: uuidv7(), debitId: at(sources, step.from), creditId: at(targets, step.to), amount: step.amount };
        if (move.debitId === move.creditId) break;
        transfers.push(move);
        expect(await transfer(db.sql, { ...move, reason: "correction" })).toBe(
          model.transfer(move.id, move.debitId, move.creditId, move.amount),
        );
        break;
      }
      case "payOut": {
        // Folded first, so that all of the earnings can be paid out.
        await foldDeltas(db.sql);
        const move = { id: uuidv7(), debitId: at(apps, step.app).model.earnings, creditId: platformAccount.world, amount: step.amount };
        expect(await transfer(db.sql, { ...move, reason: "payout" })).toBe(
          model.transfer(move.id, move.debitId, move.creditId, move.amount),
        );
        break;
      }
      case "setLimit": {
        const link = at(links, step.link);
        if (!model.links.includes(link.model)) break;
        await transaction((tx) => setLimit(tx, link.id, step.limit), db);
        await agreed(link, step.limit);
        break;
      }
      case "recount": {
        const link = at(links, step.link);
        await transaction((tx) => recountLimit(tx, link.id), db);
        const agreement = model.agreement(link.model);
        if (model.links.includes(link.model) && agreement.monthly !== null && !agreement.due) await agreed(link, agreement.monthly);
        break;
      }
      case "connect": {
        const { appId, user, model: as } = at(links, step.as);
        const isTaken = model.links.some(({ app, externalUserId }) => app === as.app && externalUserId === as.externalUserId);
        const externalUserId = step.sameId && !isTaken ? as.externalUserId : `again ${links.length}`;
        const { agreed: agreedMarkupBps, scope } = step;
        const made = await makeLink(db, appId, user, { externalUserId, monthlyLimit: step.limit, agreedMarkupBps, scope });
        const [other] = model.linksOf(model.agreement(as));
        const link = { ...as, externalUserId, agreedMarkupBps: 0n, scope, allowedModels: other?.allowedModels ?? [], paused: false };
        model.links.push(link);
        model.agreeOnMarkup(link, BigInt(agreedMarkupBps));
        links.push({ id: made.id, appId, user, token: await issue(db, made, link), model: link });
        if (step.limit !== undefined) await agreed(at(links, links.length - 1), step.limit);
        else expect(made.monthlyLimit).toBe(model.agreement(link).monthly);
        break;
      }
      case "monthEnds": {
        await passMonth(db);
        model.monthPasses();
        if (!step.refill) break;
        for (const { link, agreement } of limited()) {
          await transaction((tx) => refillLimit(tx, link.id), db);
          await agreed(link, agreement.monthly);
        }
        break;
      }
      case "pause": {
        const link = at(links, step.link);
        link.model.paused = !link.model.paused;
        await db.prisma.linkedUser.updateMany({ where: { id: link.id }, data: { pausedAt: link.model.paused ? new Date() : null } });
        break;
      }
      case "unlink": {
        const link = at(links, step.link);
        model.unlink(link.model);
        await db.prisma.linkedUser.deleteMany({ where: { id: link.id } });
        break;
      }
      case "revoke": {
        const key = at(keys, step.key);
        if (key.model === null || key.id === null) break;
        key.model.valid = false;
        await db.prisma.apiKey.update({ where: { id: key.id }, data: { revokedAt: new Date() } });
        break;
      }
      case "agree": {
        const link = at(links, step.link);
        if (!model.links.includes(link.model)) break;
        link.model.scope = step.scope;
        model.agreeOnMarkup(link.model, BigInt(step.agreed));
        await db.prisma.linkedUser.update({ where: { id: link.id }, data: { scope: step.scope } });
        await db.prisma.agreement.update({
          where: { userId_appId: { userId: link.user.id, appId: link.appId } },
          data: { agreedMarkupBps: step.agreed },
        });
        break;
      }
      case "reprice": {
        const app = at(apps, step.app);
        app.model.markupBps = BigInt(step.markup);
        await db.prisma.app.update({ where: { id: app.id }, data: { markupBps: step.markup } });
        break;
      }
      case "issue": {
        const link = at(links, step.link);
        link.token = await issue(db, { id: link.id, appId: link.appId, userId: link.user.id }, link.model, step.scope);
        break;
      }
      case "endGrant": {
        const { token } = at(links, step.link);
        token.model.valid = false;
        await db.prisma.oAuthRecord.deleteMany({ where: { kind: "Grant", grantId: token.grantId } });
        break;
      }
      case "verify":
        expect((await verify(db.sql)).discrepancies).toEqual([]);
        break;
    }
    await expectEqualBalances(db, model);
    expect(model.broken()).toBe(null);
  }

  // At the end the sweep returns all open holds.
  const first = holds[0] ?? "";
  await sweepHolds(db.sql, { all: true, after: first });
  for (const id of model.holds.keys()) model.settle(id, 0n, 0n);
  await foldDeltas(db.sql);
  await expectEqualBalances(db, model);
  expect(await verify(db.sql)).toMatchObject({ ok: true, discrepancies: [], openHolds: 0 });
}

onBothDatabases("any sequence of actions", (db) => {
  test("is answered and paid in batches exactly as one by one", async () => {
    await holdsInEveryRun(
      fc.asyncProperty(
        fc.tuple(fc.constantFrom(0, 1_234, 10_000), fc.constantFrom(0, 1, 33_333)),
        fc.array(operation, { minLength: 12, maxLength: 45, size: "max" }),
        (markups, operations) => run(db(), markups, operations),
      ),
      { runs: db().kind === "postgres" ? 50 : 25, floor: 4, withinMs: 14_000 },
    );
  });

  test("run concurrently leaves no balance negative, spends no credit twice and exceeds no limit", async () => {
    const task = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant("spend" as const),
          request: aRequest,
          settles: fc.array(fc.record({ base: aSettlement.map((each) => each.base), markup: aSettlement.map((each) => each.markup) }), {
            maxLength: 3,
          }),
        }),
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("move" as const), from: small, to: small, amount: credits(120) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("limit" as const), link: small, limit: aLimit }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("connect" as const), as: small, limit: aLimit }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("unlink" as const), link: small }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("due" as const), link: small }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("fold" as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("pause" as const), link: small }) },
    );
    await holdsInEveryRun(
      fc.asyncProperty(
        fc.array(fc.array(task, { minLength: 2, maxLength: 10, size: "max" }), { minLength: 4, maxLength: 12, size: "max" }),
        async (workers) => {
          const { people, keys, links, model } = await world(db(), [500, 10_000]);
          const ledger = openLedger(db());
          const at = <T>(items: readonly T[], index: number): T => items[index % items.length] as T;
          const pairOf = (appId: string, walletId: string) => `${appId} ${walletId}`;
          // For each user and app: the highest limit that was ever in force; null when there was a time without one.
          const highest = new Map(
            links.map(({ appId, user, model: link }) => [pairOf(appId, user.walletId), model.agreement(link).monthly]),
          );
          const chargedTo = new Map<string, bigint>();
          /** The limit to set instead: where one was in force from the beginning, it is never removed. */
          const asAllowed = ({ appId, user }: Linked, limit: bigint | null) => {
            const pair = pairOf(appId, user.walletId);
            const before = highest.get(pair) ?? null;
            if (before === null) return limit;
            const next = limit ?? before;
            if (next > before) highest.set(pair, next);
            return next;
          };
          let charged = 0n;
          let playCharged = 0n;
          let brought = 1_250n;

          const work = async (tasks: (typeof workers)[number]) => {
            for (const each of tasks) {
              if (each.kind === "spend") {
                const key = at(keys, each.request.key);
                const link = typeof each.request.user === "number" ? at(links, each.request.user) : null;
                const minimumBase = (each.request.desired * each.request.minimum) / 100n;
                const terms = {
                  model: each.request.model,
                  desiredBase: each.request.desired,
                  minimumBase: minimumBase > 0n ? minimumBase : 1n,
                };
                const externalUserId = link?.model.externalUserId ?? (each.request.user as string | null);
                const verdict = await ledger.hold(
                  link !== null && each.request.byToken
                    ? holdRequest(link.token, { byToken: true, ...terms })
                    : holdRequest(key, { externalUserId, ...terms }),
                );
                if (verdict.kind !== "held") continue;
                const settles = await Promise.all(
                  each.settles.map(({ base, markup }) => ledger.settle(settlement(verdict.id, base, markup), 60_000)),
                );
                // One call settles it and returns the balance. Its repetitions return what was charged.
                const told = settles.map((settled) => (settled.kind === "settled" ? settled : expect.unreachable(settled.kind)));
                const entered = told.filter(({ balanceAfter }) => balanceAfter !== null);
                expect(entered).toHaveLength(Math.min(1, each.settles.length));
                const amount = entered[0]?.charged ?? 0n;
                for (const { charged: same } of told) expect(same).toBe(amount);
                expect(amount).toBeLessThanOrEqual(verdict.amount);
                if (verdict.payer.billingMode === "test") playCharged += amount;
                else charged += amount;
                if (verdict.payer.billingMode === "user") {
                  const pair = pairOf(verdict.payer.appId, verdict.payer.walletId);
                  chargedTo.set(pair, (chargedTo.get(pair) ?? 0n) + amount);
                }
              } else if (each.kind === "move") {
                const sources = [platformAccount.promotions, ...people.map(({ walletId }) => walletId)];
                const [debitId, creditId] = [at(sources, each.from), at(people, each.to).walletId];
                if (debitId === creditId) continue;
                const outcome = await transfer(db().sql, { id: uuidv7(), debitId, creditId, amount: each.amount, reason: "grant" });
                if (outcome === "applied" && debitId === platformAccount.promotions) brought += each.amount;
              } else if (each.kind === "limit") {
                const link = at(links, each.link);
                const limit = asAllowed(link, each.limit);
                // The link has ended, so there is no limit to set.
                await transaction((tx) => setLimit(tx, link.id, limit), db()).catch((error: Error) =>
                  expect(error.message).toContain("no linked user"),
                );
              } else if (each.kind === "connect") {
                const { appId, user, model: as } = at(links, each.as);
                const externalUserId = `again ${uuidv7()}`;
                const limit = asAllowed(at(links, each.as), each.limit);
                const made = await makeLink(db(), appId, user, { externalUserId, monthlyLimit: limit });
                const linked = { ...as, externalUserId, paused: false };
                links.push({ id: made.id, appId, user, token: await issue(db(), made, linked), model: linked });
              } else if (each.kind === "unlink") {
                await db().prisma.linkedUser.deleteMany({ where: { id: at(links, each.link).id } });
              } else if (each.kind === "due") {
                // Refills as if the month were over; what was spent counts as of this month all the same.
                const { appId, user } = at(links, each.link);
                await transaction(async (tx) => {
                  await lockAgreement(tx, { appId, userId: user.id });
                  await tx.prisma.agreement.updateMany({
                    where: { appId, userId: user.id, monthlyLimit: { not: null } },
                    data: { limitPeriodEndsAt: new Date(Date.now() - 1) },
                  });
                }, db());
              } else if (each.kind === "pause") {
                const link = at(links, each.link);
                link.model.paused = !link.model.paused;
                await db().prisma.linkedUser.updateMany({
                  where: { id: link.id },
                  data: { pausedAt: link.model.paused ? new Date() : null },
                });
              } else {
                await foldDeltas(db().sql);
              }
            }
          };
          await Promise.all(workers.map(work));

          const found = await balances(db(), model);
          const wallets = people.map(({ walletId }) => found.get(walletId) ?? { available: -1n, held: -1n });
          for (const { available, held } of wallets) {
            expect(available).toBeGreaterThanOrEqual(0n);
            expect(held).toBeGreaterThanOrEqual(0n);
          }
          expect(wallets.reduce((sum, { available, held }) => sum + available + held, 0n)).toBe(brought - charged);
          expect(playCharged).toBeLessThanOrEqual(300n);
          for (const [pair, limit] of highest) if (limit !== null) expect(chargedTo.get(pair) ?? 0n).toBeLessThanOrEqual(limit);
          expect((await verify(db().sql)).discrepancies).toEqual([]);
          // A limit that is set now counts all of it, also where there was a time without a limit.
          for (const link of links) {
            if ((await db().prisma.linkedUser.count({ where: { id: link.id } })) === 0) continue;
            await transaction((tx) => setLimit(tx, link.id, 500n), db());
            const { limitId } = await db().prisma.linkedUser.findUniqueOrThrow({ where: { id: link.id } });
            const left = 500n - (chargedTo.get(pairOf(link.appId, link.user.walletId)) ?? 0n);
            expect((await balanceOf(db().sql, limitId ?? "")).available).toBeLessThanOrEqual(left > 0n ? left : 0n);
          }
          expect((await verify(db().sql)).discrepancies).toEqual([]);
        },
      ),
      { runs: 15, floor: 2, withinMs: 8_000 },
    );
  });
});
