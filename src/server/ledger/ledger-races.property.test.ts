import fc from "fast-check";
import { v7 as uuidv7 } from "uuid";
import { expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { holdRequest, settlement } from "#testing/ledger-requests.ts";
import { aLimit, aRequest, aSettlement, balances, credits, issue, type Linked, small, world } from "#testing/ledger-world.ts";
import { makeLink } from "#testing/makers.ts";
import { holdsInEveryRun } from "#testing/property.ts";
import { transaction } from "../platform/db.ts";
import { balanceOf, foldDeltas, platformAccount } from "./accounts.ts";
import { openLedger } from "./ledger.ts";
import { lockAgreement, setLimit } from "./limits.ts";
import { transfer } from "./transfer.ts";
import { verify } from "./verify.ts";

onBothDatabases("any sequence of actions", (db) => {
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
