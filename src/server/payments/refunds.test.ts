import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { idIn } from "#testing/fake-stripe.ts";
import { withStripe } from "#testing/payments.ts";
import { platformAccount } from "../ledger/accounts.ts";
import { debtOf } from "../ledger/debts.ts";
import { transfer } from "../ledger/transfer.ts";
import { verify } from "../ledger/verify.ts";
import { newId } from "../platform/ids.ts";
import { autoTopUpOf, startAutoTopUp } from "./auto-top-up.ts";
import { topUps } from "./history.ts";
import { openStripe } from "./stripe.ts";

onBothDatabases("money that goes back at Stripe", (db) => {
  const { fake, deliver, deliverAll, mailsTo, person } = withStripe(db);
  const expectBooksToBalance = async () => expect((await verify(db().sql)).discrepancies).toEqual([]);
  /** Spends until the wallet has `left` credits. */
  const spend = (walletId: string, amount: bigint) =>
    transfer(db().sql, { id: newId(), debitId: walletId, creditId: platformAccount.revenue, amount, reason: "correction" });

  describe("a refund or dispute", () => {
    async function paid(packageId = "usd_10") {
      const mara = await person();
      const session = await mara.checkout(packageId);
      const events = fake().pay(session);
      const intentId = idIn(events[0]);
      return { mara, events, intentId };
    }

    test("has the same effect in whatever order, and however often, the events of payment, refund and dispute come", async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom("won", "lost", "lost in part", "warning_closed"),
          fc.boolean(),
          fc.infiniteStream(fc.nat()),
          fc.boolean(),
          async (verdict, refundFails, numbers, parallel) => {
            const { mara, events, intentId } = await paid();
            const refund = fake().refund(intentId, 300);
            const dispute = fake().dispute(intentId, verdict.startsWith("warning") ? "warning_needs_response" : "needs_response");
            const all = [
              ...events,
              ...refund.events,
              ...(refundFails ? fake().failRefund(refund.id) : []),
              ...dispute.events,
              ...(verdict === "lost in part" ? fake().withdraw(dispute.id) : []),
              ...fake().changeDispute(dispute.id, verdict === "lost in part" ? "lost" : verdict),
              // The part that had been refunded before.
              ...(verdict === "lost in part" ? fake().reinstate(dispute.id, 300) : []),
            ];
            const order = [...all, ...all].map((event) => ({ event, at: numbers.next().value })).sort((a, b) => a.at - b.at);
            if (parallel) await Promise.all(order.map(async ({ event }) => expect(await deliver(event)).toBe(200)));
            else await deliverAll(order.map(({ event }) => event));
            // A refund and a dispute of the same credits leave a debt.
            const gone = { won: 0n, warning_closed: 0n, lost: 10_000_000n, "lost in part": 7_000_000n }[verdict] ?? 0n;
            const left = 10_000_000n - (refundFails ? 0n : 3_000_000n) - gone;
            expect((await mara.balance()) - (await debtOf(db().sql, mara.walletId))).toBe(left);
            expect(await mara.balance()).toBe(left > 0n ? left : 0n);
          },
        ),
        { numRuns: 16, endOnFailure: true },
      );
      await expectBooksToBalance();
    });

    test("freezes a wallet that can't cover it; a top-up repays the debt first, and the rest can be spent", async () => {
      const { mara, events, intentId } = await paid();
      await deliverAll(events);
      await spend(mara.walletId, 8_000_000n);
      await deliverAll(fake().refund(intentId, 1_000).events);
      expect([await mara.balance(), await debtOf(db().sql, mara.walletId)]).toEqual([0n, 8_000_000n]);
      await vi.waitFor(() => expect(mailsTo(mara.email).at(-1)).toContain("$8.00 of them were spent already"));
      await deliverAll(fake().pay(await mara.checkout("usd_5")));
      expect([await mara.balance(), await debtOf(db().sql, mara.walletId)]).toEqual([0n, 3_000_000n]);
      await deliverAll(fake().pay(await mara.checkout("usd_5")));
      expect([await mara.balance(), await debtOf(db().sql, mara.walletId)]).toEqual([2_000_000n, 0n]);
      await expectBooksToBalance();
    });

    test("is returned when a dispute is won: the debt first, then credits", async () => {
      const { mara, events, intentId } = await paid();
      await deliverAll(events);
      await spend(mara.walletId, 6_000_000n);
      const dispute = fake().dispute(intentId);
      await deliverAll(dispute.events);
      expect([await mara.balance(), await debtOf(db().sql, mara.walletId)]).toEqual([0n, 6_000_000n]);
      await deliverAll(fake().changeDispute(dispute.id, "won"));
      expect([await mara.balance(), await debtOf(db().sql, mara.walletId)]).toEqual([4_000_000n, 0n]);
      await expectBooksToBalance();
    });

    test("takes credits back for a prevented dispute when Stripe took money for it, in whatever order the events come", async () => {
      const [blocked, resolved, reversed] = [await paid(), await paid(), await paid()];
      for (const each of [blocked, resolved, reversed]) await deliverAll(each.events);
      await deliverAll(fake().dispute(blocked.intentId, "prevented").events);
      const first = fake().dispute(resolved.intentId, "prevented");
      await deliverAll([...first.events, ...fake().withdraw(first.id)]);
      const second = fake().dispute(reversed.intentId, "prevented");
      await deliverAll([...second.events, ...fake().withdraw(second.id).slice(1), ...second.events]);
      expect(await Promise.all([blocked, resolved, reversed].map(({ mara }) => mara.balance()))).toEqual([10_000_000n, 0n, 0n]);
      await expectBooksToBalance();
    });

    test("in another currency fails, so that Stripe repeats the event, if the payment is ours", async () => {
      const [known, early] = [await paid(), await paid()];
      await deliverAll(known.events);
      await startAutoTopUp(known.mara.owner, { threshold: 2_000_000n, packageId: "usd_10", monthlyMaximum: 30_000_000n });
      const quiet = vi.spyOn(process.stderr, "write").mockReturnValue(true);
      const statuses = [];
      for (const { intentId } of [known, known, early]) {
        const [created] = fake().dispute(intentId, "needs_response", { currency: "eur" }).events;
        statuses.push(await deliver(created as never), await deliver(created as never));
      }
      quiet.mockRestore();
      expect(statuses).toEqual([500, 500, 500, 500, 500, 500]);
      const { mara } = known;
      // The amount is not known yet, and auto top-up is stopped.
      expect(await autoTopUpOf(mara.walletId)).toMatchObject({ state: "stopped", wentBack: true });
      await deliverAll(fake().pay(await mara.checkout("usd_5", { saveCard: true })));
      const { customerId, paymentMethodId } = await db().prisma.billing.findUniqueOrThrow({ where: { userId: mara.id } });
      const strangers = await openStripe(fake().secretKey, fake().url).paymentIntents.create({
        amount: 500,
        currency: "eur",
        customer: customerId as string,
        payment_method: paymentMethodId as string,
        confirm: true,
        off_session: true,
        metadata: { order: "7" },
      });
      await deliverAll(fake().dispute(strangers.id, "needs_response", { currency: "eur" }).events);
    });

    test("takes back what Stripe did not return of a lost dispute, also when our balance at Stripe is in another currency", async () => {
      const [dollars, euros] = [await paid(), await paid()];
      for (const { mara, events } of [dollars, euros]) {
        await deliverAll(events);
        await spend(mara.walletId, 4_000_000n);
      }
      const dispute = fake().dispute(dollars.intentId);
      await deliverAll([...dispute.events, ...fake().withdraw(dispute.id), ...fake().changeDispute(dispute.id, "lost")]);
      expect([await dollars.mara.balance(), await debtOf(db().sql, dollars.mara.walletId)]).toEqual([0n, 4_000_000n]);
      await deliverAll(fake().reinstate(dispute.id, 500));
      const moved = [
        { amount: -920, currency: "eur", reporting_category: "dispute" },
        { amount: -1_500, currency: "eur", reporting_category: "fee" },
        { amount: 460, currency: "eur", reporting_category: "dispute_reversal" },
      ];
      await deliverAll(fake().dispute(euros.intentId, "lost", { balance_transactions: moved }).events);
      for (const { mara } of [dollars, euros]) {
        expect([await mara.balance(), await debtOf(db().sql, mara.walletId)]).toEqual([1_000_000n, 0n]);
        expect((await topUps(mara.walletId, { take: 1 })).items[0]?.reversals).toMatchObject([{ kind: "dispute", amount: 5_000_000n }]);
      }
      await vi.waitFor(() => expect(mailsTo(dollars.mara.email).at(-1)).toContain("$5.00 of credits are back"));
      // An appeal that is won later returns the rest.
      await deliverAll(fake().changeDispute(dispute.id, "won"));
      expect(await dollars.mara.balance()).toBe(6_000_000n);
      await expectBooksToBalance();
    });

    test("in another currency takes back what Stripe took from our balance in dollars, once Stripe reports it", async () => {
      const { mara, events, intentId } = await paid();
      await deliverAll(events);
      const dispute = fake().dispute(intentId, "needs_response", { currency: "eur", amount: 920 });
      const [created] = dispute.events as [never];
      const quiet = vi.spyOn(process.stderr, "write").mockReturnValue(true);
      expect(await deliver(created)).toBe(500);
      quiet.mockRestore();
      expect(await mara.balance()).toBe(10_000_000n);
      const moved = [{ amount: -1_000, currency: "usd", reporting_category: "dispute" }];
      const [withdrawn] = fake().dispute(intentId, "needs_response", { currency: "eur", amount: 920, balance_transactions: moved }).events;
      (withdrawn?.data.object as unknown as { id: string }).id = dispute.id;
      await deliverAll([withdrawn as never, created]);
      expect(await mara.balance()).toBe(0n);
      await expectBooksToBalance();
    });

    test("is shown on the receipt", async () => {
      const { mara, events, intentId } = await paid();
      await deliverAll([...events, ...fake().refund(intentId, 250).events]);
      expect((await topUps(mara.walletId, { take: 10 })).items[0]?.reversals).toMatchObject([{ kind: "refund", amount: 2_500_000n }]);
    });
  });
});
