import fc from "fast-check";
import { v7 as uuidv7 } from "uuid";
import { expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import type { LedgerModel } from "#testing/ledger-model.ts";
import { holdRequest, settlement } from "#testing/ledger-requests.ts";
import {
  type ARequest,
  type ASettlement,
  aLimit,
  aMarkup,
  aRequest,
  aScope,
  aSettlement,
  balances,
  credits,
  issue,
  type Linked,
  type Made,
  small,
  world,
} from "#testing/ledger-world.ts";
import { makeLink, passMonth } from "#testing/makers.ts";
import { holdsInEveryRun } from "#testing/property.ts";
import { type Database, transaction } from "../platform/db.ts";
import { foldDeltas, platformAccount } from "./accounts.ts";
import { Batcher } from "./batcher.ts";
import { type Growth, grow, type HoldRequest, type HoldVerdict, hold, type Locked, post, settle } from "./hold.ts";
import { recountLimit, refillLimit, setLimit } from "./limits.ts";
import { sweepHolds } from "./sweep.ts";
import { transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

// Actions of the model. A number picks one of the things that exist at that moment, modulo their count.
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
type Operation = Made<typeof operation>;

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
});
