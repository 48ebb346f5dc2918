import { describe, expect, test, vi } from "vitest";
import { withAutoTopUp } from "#testing/auto-top-up.ts";
import { onBothDatabases } from "#testing/database.ts";
import { idIn } from "#testing/fake-stripe.ts";
import { withStripe } from "#testing/payments.ts";
import { autoTopUpOf, startAutoTopUp, topUpAutomatically } from "./auto-top-up.ts";

onBothDatabases("automatic top-ups", (db) => {
  const stripe = withStripe(db);
  const { fake, deliverAll, mailsTo, person } = stripe;
  const { INTENTS, withCard, firstChargeFails, rounds } = withAutoTopUp(db, stripe);

  describe("after a refund or dispute", () => {
    const REFUNDED = "A top-up was refunded.";
    const DISPUTED = "A top-up was disputed at your bank.";
    const off = (mails: string[]) => mails.filter((mail) => mail.includes("Automatic top-ups are off"));

    test.each([
      ["a refund", REFUNDED, "Visa •••• 4242", (intent: string) => fake().refund(intent, 1_000)],
      ["a refund of a part", REFUNDED, "Visa •••• 4242", (intent: string) => fake().refund(intent, 900)],
      ["a dispute", DISPUTED, null, (intent: string) => fake().dispute(intent)],
      ["an inquiry of the bank", DISPUTED, "Visa •••• 4242", (intent: string) => fake().dispute(intent, "warning_needs_response")],
    ] as const)("%s that leaves no debt stops them, with one mail, and nothing is charged", async (_what, problem, card, goBack) => {
      const mara = await withCard();
      await deliverAll(goBack(await mara.firstIntent()).events);
      if ((await mara.balance()) >= 2_000_000n) await mara.spend(9_000_000n);
      await rounds();
      expect(mara.charges()).toEqual([]);
      expect(await mara.settings()).toMatchObject({ state: "stopped", problem, wentBack: true, card });
      await vi.waitFor(() => expect(off(mailsTo(mara.email))).toHaveLength(1));
      expect(await mara.turnOn()).toBe(card === null ? "waiting_for_card" : "on");
    });

    test("a repeated event does not stop them after their user has turned them on, and the next refund does", async () => {
      const mara = await withCard();
      const again = (events: readonly Parameters<typeof deliverAll>[0][number][]) =>
        deliverAll(events.map((event) => ({ ...event, id: `${event.id}again` })));
      const first = fake().refund(await mara.firstIntent(), 300);
      await deliverAll(first.events);
      expect(await mara.turnOn()).toBe("on");
      await deliverAll(first.events);
      await again(first.events);
      expect(await mara.settings()).toMatchObject({ state: "on", problem: null });
      const second = fake().refund(await mara.firstIntent(), 600);
      await deliverAll(second.events);
      expect(await mara.settings()).toMatchObject({ state: "stopped", problem: REFUNDED });
      await rounds();
      expect([mara.charges().length, await mara.balance()]).toEqual([0, 1_000_000n]);
      // A refund that fails gives its credits back and turns nothing on or off.
      await deliverAll(fake().failRefund(first.id));
      expect(await mara.settings()).toMatchObject({ state: "stopped" });
      await mara.turnOn();
      await deliverAll(fake().failRefund(second.id));
      expect([(await mara.settings()).state, await mara.balance()]).toEqual(["on", 10_000_000n]);
      // Nor does the returned part of a dispute.
      const dispute = fake().dispute(await mara.firstIntent());
      await deliverAll([...dispute.events, ...fake().withdraw(dispute.id), ...fake().changeDispute(dispute.id, "lost")]);
      expect([(await mara.settings()).state, await mara.turnOn()]).toEqual(["stopped", "waiting_for_card"]);
      await deliverAll(fake().reinstate(dispute.id, 300));
      expect([(await mara.settings()).state, await mara.balance()]).toEqual(["waiting_for_card", 3_000_000n]);
    });

    test("a charge under way is credited when it succeeds, and is the last one", async () => {
      const mara = await withCard();
      await mara.spend(9_000_000n);
      const answer = fake().hang(INTENTS);
      const round = topUpAutomatically(db());
      try {
        await vi.waitFor(() => expect(mara.charges()).toHaveLength(1));
        await deliverAll(fake().refund(await mara.firstIntent(), 100).events);
        expect([await mara.balance(), (await mara.settings()).state]).toEqual([0n, "stopped"]);
      } finally {
        answer();
        await round;
      }
      expect([await mara.balance(), (await mara.settings()).state]).toEqual([10_000_000n, "stopped"]);
      await mara.spend(10_000_000n);
      await rounds();
      expect(mara.charges()).toHaveLength(1);
    });

    test("a charge that never reached Stripe is not repeated", async () => {
      const mara = await withCard();
      await mara.spend(9_000_000n);
      await firstChargeFails("error");
      await deliverAll(fake().refund(await mara.firstIntent(), 100).events);
      await rounds(new Date(Date.now() + 61_000));
      expect([mara.charges().length, await mara.settings()]).toMatchObject([
        0,
        { state: "stopped", problem: REFUNDED, addedThisMonth: 0n },
      ]);
    });

    test("nothing is charged when the job looks at the same moment", async () => {
      const people = await Promise.all(Array.from({ length: 8 }, () => withCard()));
      const refunds = await Promise.all(people.map(async (mara) => fake().refund(await mara.firstIntent(), 900).events));
      await Promise.all([...refunds.map((events) => deliverAll(events)), rounds(), rounds()]);
      await rounds();
      expect(people.flatMap((mara) => mara.charges())).toEqual([]);
      expect(await Promise.all(people.map(async (mara) => (await mara.settings()).state))).toEqual(people.map(() => "stopped"));
    });

    test("whose event comes before its payment's, they do not begin; a card whose payment is disputed is not saved", async () => {
      const seen = [];
      for (const goBack of [(intent: string) => fake().refund(intent, 1_000), (intent: string) => fake().dispute(intent)]) {
        const mara = await person();
        await startAutoTopUp(mara.owner, { threshold: 2_000_000n, packageId: "usd_10", monthlyMaximum: 30_000_000n });
        const paid = fake().pay(await mara.checkout("usd_10", { saveCard: true }));
        await deliverAll([...goBack(idIn(paid[0])).events, ...paid]);
        await rounds();
        await vi.waitFor(() => expect(off(mailsTo(mara.email))).toHaveLength(1));
        seen.push(await autoTopUpOf(mara.walletId));
      }
      expect(seen).toMatchObject([
        { state: "stopped", problem: REFUNDED, card: "Visa •••• 4242" },
        { state: "stopped", problem: DISPUTED, card: null },
      ]);
    });
  });
});
