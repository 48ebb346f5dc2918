import fc from "fast-check";
import { expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { idIn } from "#testing/fake-stripe.ts";
import { holdRequest, settlement } from "#testing/ledger-requests.ts";
import { makeApp, makeKey, makeLink } from "#testing/makers.ts";
import { withStripe } from "#testing/payments.ts";
import { collectDebts } from "../jobs/payments.ts";
import { balanceOf } from "../ledger/accounts.ts";
import { debtOf } from "../ledger/debts.ts";
import { openLedger } from "../ledger/ledger.ts";
import { verify } from "../ledger/verify.ts";
import { startAutoTopUp, topUpAutomatically } from "./auto-top-up.ts";

onBothDatabases("the books", (db) => {
  const { fake, deliver, person } = withStripe(db);

  const step = fc.record({
    what: fc.constantFrom(
      "topUp",
      "topUp",
      "refund",
      "failRefund",
      "dispute",
      "decide",
      "spend",
      "spend",
      "spend",
      "automatic",
      "putOn",
      "collect",
      "verify",
    ),
    who: fc.nat(),
    which: fc.nat(),
    amount: fc.integer({ min: 1, max: 1_200 }),
    card: fc.constantFrom("ok" as const, "ok" as const, "declined" as const, "processing" as const),
    twice: fc.boolean(),
  });

  test("balance after top-ups, refunds, disputes, spending and automatic top-ups in parallel, and no balance is ever negative", async () => {
    const ledger = openLedger(db());
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(step, { minLength: 2, maxLength: 8 }), { minLength: 3, maxLength: 8 }), async (groups) => {
        const app = await makeApp(db(), { markupBps: 1_000 });
        const key = await makeKey(db(), app.id);
        const people = await Promise.all([person(), person()]);
        const links = await Promise.all(people.map((each) => makeLink(db(), app.id, each)));
        const intents: string[] = [];
        const reversals: { id: string; kind: "refund" | "dispute" }[] = [];
        // Events are delivered at once, or kept and delivered in another order at the end.
        const late: Parameters<typeof deliver>[0][] = [];

        async function topUp(who: number, options: { saveCard?: boolean } = {}) {
          const session = await people[who]?.checkout("usd_5", options);
          const events = fake().pay(session as string);
          intents.push(idIn(events[0]));
          return events;
        }
        const putOn = (who: number) => {
          const owner = people[who]?.owner as { userId: string; walletId: string };
          return startAutoTopUp(owner, { threshold: 1_000_000n, packageId: "usd_5", monthlyMaximum: 40_000_000n });
        };
        for (const who of [0, 1]) {
          await putOn(who);
          for (const event of await topUp(who, { saveCard: true })) await deliver(event);
        }

        async function carryOut({ what, who, which, amount, card, twice }: (typeof groups)[number][number]): Promise<void> {
          const index = who % 2;
          const tell = async (events: Parameters<typeof deliver>[0][]) => {
            if (which % 3 === 0) return void late.push(...events);
            await Promise.all((twice ? [...events, ...events] : events).map(async (event) => expect(await deliver(event)).toBe(200)));
          };
          const intent = intents[which % intents.length] as string;
          const reversal = reversals[which % Math.max(1, reversals.length)];
          if (what === "topUp") await tell(await topUp(index));
          else if (what === "refund" || what === "dispute") {
            const made = what === "refund" ? fake().refund(intent, (amount % 500) + 1) : fake().dispute(intent);
            reversals.push({ id: made.id, kind: what });
            await tell(made.events);
          } else if (what === "failRefund" && reversal?.kind === "refund") await tell(fake().failRefund(reversal.id));
          else if (what === "decide" && reversal?.kind === "dispute")
            await tell(fake().changeDispute(reversal.id, amount % 2 === 0 ? "won" : "lost"));
          else if (what === "spend") {
            const credits = BigInt(amount) * 5_000n;
            const request = {
              ...holdRequest(key, { externalUserId: links[index]?.externalUserId ?? null }),
              desiredBase: credits,
              minimumBase: 1n,
            };
            const held = await ledger.hold(request);
            if (held.kind === "held") await ledger.settle(settlement(request.id, credits / BigInt((which % 3) + 1)), 60_000);
          } else if (what === "putOn") await putOn(index);
          else if (what === "automatic") {
            const billing = await db().prisma.billing.findUniqueOrThrow({ where: { walletId: people[index]?.walletId ?? "" } });
            if (billing.paymentMethodId !== null) fake().setCard(billing.paymentMethodId, card);
            await topUpAutomatically(db());
            await tell(fake().takeEvents());
          } else if (what === "collect") await collectDebts(db());
          else if (what === "verify") expect((await verify(db().sql)).discrepancies).toEqual([]);
        }

        for (const group of groups) await Promise.all(group.map(carryOut));
        await Promise.all(late.toReversed().map(async (event) => expect(await deliver(event)).toBe(200)));
        expect((await verify(db().sql)).discrepancies).toEqual([]);

        // Every dollar that the fake Stripe charged is credited, and what stands of refunds and disputes is taken or owed.
        for (const who of [0, 1]) {
          const walletId = people[who]?.walletId ?? "";
          const payments = await db().prisma.payment.findMany({
            where: { walletId, status: "paid" },
            include: { intent: { include: { reversals: { where: { state: "standing" } } } } },
          });
          const charged = fake().charged();
          for (const payment of payments) expect(charged.get(payment.intent?.id ?? "")).toBe(payment.cents);
          const spent = await db().prisma.usage.aggregate({ where: { walletId }, _sum: { base: true, markup: true } });
          const came = payments.reduce((sum, each) => sum + each.amount, 0n);
          const went = payments.flatMap((each) => each.intent?.reversals ?? []).reduce((sum, each) => sum + each.amount, 0n);
          const { balance } = await balanceOf(db().sql, walletId);
          expect(balance - (await debtOf(db().sql, walletId))).toBe(came - went - (spent._sum.base ?? 0n) - (spent._sum.markup ?? 0n));
          expect(balance).toBeGreaterThanOrEqual(0n);
        }
        const credited = await db().prisma.paymentIntent.count({
          where: { id: { in: [...fake().charged().keys()] }, payment: { status: "paid" } },
        });
        expect(credited).toBe(fake().charged().size);
      }),
      // Parallel runs do not fail in the same way twice, so fast-check cannot shrink them.
      { numRuns: 12, endOnFailure: true },
    );
  });
});
