import { describe, expect, test, vi } from "vitest";
import { withAutoTopUp } from "#testing/auto-top-up.ts";
import { onBothDatabases } from "#testing/database.ts";
import { idIn } from "#testing/fake-stripe.ts";
import { makeUser } from "#testing/makers.ts";
import { withStripe } from "#testing/payments.ts";
import { platformAccount } from "../ledger/accounts.ts";
import { transfer } from "../ledger/transfer.ts";
import { verify } from "../ledger/verify.ts";
import { transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { autoTopUpOf, removeCard, startAutoTopUp, stopAutoTopUp, topUpAutomatically } from "./auto-top-up.ts";
import { endBilling } from "./billing.ts";
import { lowBalanceWatch } from "./low-balance.ts";
import { openStripe } from "./stripe.ts";

onBothDatabases("automatic top-ups", (db) => {
  const stripe = withStripe(db);
  const { fake, deliverAll, mailsTo, person } = stripe;
  const { INTENTS, withCard, firstChargeFails, rounds } = withAutoTopUp(db, stripe);

  test("begin when a top-up has saved a card, and charge it with the parameters that Stripe documents", async () => {
    const mara = await withCard();
    expect(await mara.settings()).toMatchObject({ state: "on", card: "Visa •••• 4242" });
    await mara.spend(8_500_000n);
    await rounds();
    expect(await mara.balance()).toBe(11_500_000n);
    expect(mara.charges().map(({ params }) => params)).toEqual([
      expect.objectContaining({ amount: "1000", currency: "usd", payment_method: mara.card, off_session: "true", confirm: "true" }),
    ]);
    await vi.waitFor(() => expect(mailsTo(mara.email).at(-1)).toContain("were added automatically"));
    // The webhook's event about the same charge changes nothing.
    await deliverAll(fake().takeEvents());
    expect(await mara.balance()).toBe(11_500_000n);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("charge once each time the balance falls, with any number of servers", async () => {
    const mara = await withCard();
    await mara.spend(8_500_000n);
    for (let round = 0; round < 3; round++) await rounds();
    expect(await mara.charged()).toBe(1);
    await mara.spend(10_000_000n);
    for (let round = 0; round < 3; round++) await rounds();
    expect(await mara.charged()).toBe(2);
    expect(mara.charges()).toHaveLength(2);
  });

  test("stop at the monthly maximum, and continue in the next month", async () => {
    const mara = await withCard({ monthlyMaximum: 15_000_000n });
    await mara.spend(9_000_000n);
    await rounds();
    await mara.spend(10_000_000n);
    await rounds();
    expect(await mara.charged()).toBe(1);
    const now = new Date();
    await rounds(new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1, 1)));
    expect(await mara.charged()).toBe(2);
  });

  test("whose answer was lost are looked up at Stripe, and charge once", async () => {
    const mara = await withCard();
    await mara.spend(9_000_000n);
    fake().failNext(INTENTS, "lost", 3);
    const quiet = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    await topUpAutomatically(db());
    quiet.mockRestore();
    expect(await mara.balance()).toBe(1_000_000n);
    await rounds();
    expect(mara.charges()).toHaveLength(3);
    await rounds(new Date(Date.now() + 61_000));
    expect(await mara.balance()).toBe(11_000_000n);
    const payment = await db().prisma.payment.findFirstOrThrow({
      where: { walletId: mara.walletId, automatic: true },
      include: { intent: true },
    });
    expect([...fake().charged().keys()].filter((id) => id === payment.intent?.id)).toHaveLength(1);
    expect(new Set(mara.charges().map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1);
  });

  test("whose answer was lost are credited by the webhook, and not looked up again", async () => {
    const mara = await withCard();
    await mara.spend(9_000_000n);
    fake().takeEvents();
    fake().failNext(INTENTS, "lost", 3);
    const quiet = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    await topUpAutomatically(db());
    quiet.mockRestore();
    await deliverAll(fake().takeEvents());
    const calls = mara.charges().length;
    await rounds(new Date(Date.now() + 61_000));
    expect([await mara.balance(), mara.charges().length]).toEqual([11_000_000n, calls]);
  });

  test.each([
    ["declined", "Your card was declined."],
    ["authentication_required", "Your bank wants you to confirm the payment yourself."],
  ] as const)("are stopped when the card is %s, with one mail, until the user turns them on again", async (card, problem) => {
    const mara = await withCard();
    fake().setCard(mara.card, card);
    await mara.spend(9_000_000n);
    await rounds();
    await deliverAll(fake().takeEvents());
    await rounds();
    expect([mara.charges().length, await mara.charged()]).toEqual([1, 0]);
    expect(await mara.settings()).toMatchObject({ state: "stopped", problem });
    await vi.waitFor(() => expect(mailsTo(mara.email).filter((mail) => mail.includes("did not work"))).toHaveLength(1));
    fake().setCard(mara.card, "ok");
    expect(await startAutoTopUp(mara.owner, { threshold: 2_000_000n, packageId: "usd_10", monthlyMaximum: 30_000_000n })).toBe("on");
    await rounds();
    expect(await mara.balance()).toBe(11_000_000n);
  });

  test("that a bank processes are credited when they succeed, and nothing else is charged until then", async () => {
    const mara = await withCard();
    fake().setCard(mara.card, "processing");
    await mara.spend(9_000_000n);
    await rounds();
    await rounds(new Date(Date.now() + 61_000));
    expect([mara.charges().length, await mara.balance()]).toEqual([1, 1_000_000n]);
    expect(await mara.settings()).toMatchObject({ state: "on", addedThisMonth: 10_000_000n });
  });

  test("that a bank processes are looked up when no event about them comes", async () => {
    const mara = await withCard();
    fake().setCard(mara.card, "processing");
    await mara.spend(9_000_000n);
    fake().takeEvents();
    await rounds();
    const [processing] = fake().takeEvents();
    fake().arrive(idIn(processing));
    await rounds(new Date(Date.now() + 61_000));
    expect([mara.charges().length, await mara.balance()]).toEqual([1, 11_000_000n]);
  });

  describe("that were stopped before Stripe could be reached", () => {
    const inAMinute = () => rounds(new Date(Date.now() + 61_000));

    test("charge nothing afterwards, and there is no mail", async () => {
      const mara = await withCard();
      await mara.spend(9_000_000n);
      await firstChargeFails("error");
      await stopAutoTopUp(mara.walletId);
      await inAMinute();
      expect([mara.charges().length, await mara.balance()]).toEqual([0, 1_000_000n]);
      expect(await mara.settings()).toMatchObject({ state: "off", addedThisMonth: 0n });
      const payment = await db().prisma.payment.findFirstOrThrow({ where: { walletId: mara.walletId, automatic: true } });
      expect(payment.status).toBe("failed");
      // The mail about this later failure comes after any mail about the first one would have.
      const other = await withCard();
      fake().setCard(other.card, "declined");
      await other.spend(9_000_000n);
      await rounds();
      await vi.waitFor(() => expect(mailsTo(other.email).at(-1)).toContain("did not work"));
      expect(mailsTo(mara.email).filter((mail) => mail.includes("did not work"))).toEqual([]);
    });

    test("send no mail about a declined card, and keep the next card", async () => {
      const [off, changed] = [await withCard(), await withCard()];
      for (const mara of [off, changed]) {
        fake().setCard(mara.card, "declined");
        await mara.spend(9_000_000n);
        await firstChargeFails("lost");
      }
      await stopAutoTopUp(off.walletId);
      await deliverAll(fake().pay(await changed.checkout("usd_10", { saveCard: true })));
      await inAMinute();
      expect([(await off.settings()).state, (await changed.settings()).state]).toEqual(["off", "on"]);
      await changed.spend(10_000_000n);
      await rounds();
      expect([await off.charged(), await changed.charged()]).toEqual([0, 1]);
      await vi.waitFor(() => expect(mailsTo(changed.email).at(-1)).toContain("were added automatically"));
      expect([off, changed].flatMap(({ email }) => mailsTo(email)).filter((mail) => mail.includes("did not work"))).toEqual([]);
    });

    test("are credited when the charge had succeeded and only its answer was lost", async () => {
      const mara = await withCard();
      await mara.spend(9_000_000n);
      await firstChargeFails("lost");
      await stopAutoTopUp(mara.walletId);
      const calls = mara.charges().length;
      await inAMinute();
      expect([mara.charges().length, await mara.balance()]).toEqual([calls, 11_000_000n]);
    });

    test("charge the new card and not the former when another card was saved", async () => {
      const mara = await withCard();
      await mara.spend(9_000_000n);
      await firstChargeFails("error");
      await deliverAll(fake().pay(await mara.checkout("usd_10", { saveCard: true })));
      await mara.spend(10_000_000n);
      const { paymentMethodId } = await db().prisma.billing.findUniqueOrThrow({ where: { userId: mara.id } });
      await inAMinute();
      await rounds();
      expect(paymentMethodId).not.toBe(mara.card);
      expect(mara.charges().map(({ params }) => params.payment_method)).toEqual([paymentMethodId]);
    });
  });

  test.each([
    ["the card was taken off its customer", async ({ card }: { card: string }) => fake().detachCard(card)],
    [
      "the customer was deleted",
      async ({ customer }: { customer: string }) => void (await openStripe(fake().secretKey, fake().url).customers.del(customer)),
    ],
  ] as const)("are stopped when %s at Stripe, and start again with the next card", async (_what, lose) => {
    const mara = await withCard();
    await lose(mara);
    await mara.spend(9_000_000n);
    await rounds();
    expect(await mara.settings()).toMatchObject({
      state: "stopped",
      problem: "Your card is no longer on file.",
      wentBack: false,
      card: null,
    });
    expect(await mara.turnOn()).toBe("waiting_for_card");
    await deliverAll(fake().pay(await mara.checkout("usd_10", { saveCard: true })));
    await mara.spend(10_000_000n);
    await rounds();
    expect([(await mara.settings()).state, await mara.charged(), await mara.balance()]).toEqual(["on", 1, 11_000_000n]);
  });

  test("that Stripe began and never carried out are cancelled after a day, and the next one is made", async () => {
    const mara = await withCard();
    fake().setCard(mara.card, "unfinished");
    await mara.spend(9_000_000n);
    const quiet = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    await topUpAutomatically(db());
    await rounds(new Date(Date.now() + 21 * 3_600_000));
    quiet.mockRestore();
    expect(await mara.settings()).toMatchObject({ state: "stopped", problem: "Stripe did not carry it out.", addedThisMonth: 0n });
    fake().setCard(mara.card, "ok");
    expect(await mara.turnOn()).toBe("on");
    await rounds();
    expect([await mara.charged(), await mara.balance()]).toEqual([1, 11_000_000n]);
  });

  test("wait for an account that is being deleted, and charge nothing after it", async ({ skip }) => {
    skip(db().kind === "embedded", "it carries out one transaction after the other");
    const mara = await withCard();
    await mara.spend(9_000_000n);
    let round: Promise<void> | undefined;
    await transaction(async (tx) => {
      await tx.prisma.$queryRaw`SELECT id FROM "user" WHERE id = ${mara.id}::uuid FOR UPDATE`;
      round = topUpAutomatically(db());
      await vi.waitFor(async () => {
        const waiting = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
        expect(await db().sql.query({ name: "test_who_waits", text: waiting }, [])).toHaveLength(1);
      });
      await endBilling(tx, mara.id);
    }, db());
    await round;
    expect(mara.charges()).toEqual([]);
  });

  describe("continue", () => {
    test("when a debt took the last one", async () => {
      const mara = await withCard();
      const first = await mara.firstIntent();
      await mara.spend(9_000_000n);
      fake().takeEvents();
      await firstChargeFails("lost");
      await deliverAll(fake().refund(first, 1_000).events);
      expect(await mara.turnOn()).toBe("on");
      await db().prisma.billing.update({ where: { userId: mara.id }, data: { autoArmed: false } });
      await deliverAll(fake().takeEvents());
      expect(await mara.balance()).toBe(1_000_000n);
      await rounds();
      expect([await mara.balance(), await mara.charged()]).toEqual([11_000_000n, 2]);
    });

    test("when a grant has lifted the balance in between", async () => {
      const mara = await withCard();
      await mara.spend(9_000_000n);
      await db().prisma.billing.update({ where: { userId: mara.id }, data: { autoArmed: false } });
      await rounds();
      expect(await mara.charged()).toBe(0);
      const gift = { debitId: platformAccount.promotions, creditId: mara.walletId, amount: 5_000_000n, reason: "grant" } as const;
      await transfer(db().sql, { id: newId(), ...gift });
      await lowBalanceWatch(600_000)(db());
      await mara.spend(5_000_000n);
      await rounds();
      expect([await mara.balance(), await mara.charged()]).toEqual([11_000_000n, 1]);
    });

    test("for other wallets when more than a page of wallets have to wait", async () => {
      const stuck = await Promise.all(Array.from({ length: 105 }, () => makeUser(db())));
      const wallets = stuck.map(({ id, walletId }, index) => ({ userId: id, walletId, kind: ["debt", "no card", "maximum"][index % 3] }));
      const { prisma } = db();
      await prisma.billing.createMany({
        data: wallets.map(({ userId, walletId, kind }) => ({
          userId,
          walletId,
          customerId: `cus_${userId}`,
          paymentMethodId: kind === "no card" ? null : `pm_${userId}`,
          autoTopUp: "on",
          autoThreshold: 2_000_000n,
          autoAmount: 10_000_000n,
          autoMonthlyMaximum: 15_000_000n,
        })),
      });
      const of = (wanted: string) => wallets.filter(({ kind }) => kind === wanted).map(({ userId, walletId }) => ({ userId, walletId }));
      await prisma.debt.createMany({ data: of("debt").map(({ walletId }) => ({ walletId, amount: 1n })) });
      const paid = {
        provider: "stripe",
        status: "paid",
        automatic: true,
        amount: 10_000_000n,
        cents: 1_000,
        expiresAt: new Date(),
      } as const;
      await prisma.payment.createMany({ data: of("maximum").map((owner) => ({ ...owner, ...paid, id: newId(), transferId: newId() })) });
      try {
        const mara = await withCard();
        await mara.spend(9_000_000n);
        await topUpAutomatically(db());
        expect(await mara.charged()).toBe(1);
        expect(fake().calls.filter(({ params }) => wallets.some(({ userId }) => params.customer === `cus_${userId}`))).toEqual([]);
      } finally {
        const where = { walletId: { in: wallets.map(({ walletId }) => walletId) } };
        await prisma.payment.deleteMany({ where });
        await prisma.debt.deleteMany({ where });
        await prisma.billing.deleteMany({ where });
      }
    });
  });

  test("are charged in rounds with a time limit; the next round charges what one did not reach", async () => {
    const people = [await withCard(), await withCard()];
    for (const mara of people) await mara.spend(9_000_000n);
    const charges = () => people.flatMap((mara) => mara.charges()).length;
    const seen = [];
    for (let round = 0; round < 3; round++) {
      await topUpAutomatically(db(), new Date(), 0);
      seen.push(charges());
    }
    expect(seen).toEqual([1, 2, 2]);
  });

  test("charge nothing for a wallet with a debt, or after they were turned off or the card removed", async () => {
    const owing = await withCard();
    await owing.spend(9_000_000n);
    await deliverAll(fake().refund(await owing.firstIntent(), 1_000).events);
    expect(await owing.turnOn()).toBe("on");
    const off = await withCard();
    await stopAutoTopUp(off.walletId);
    await off.spend(9_000_000n);
    const bare = await withCard();
    await removeCard(bare.walletId);
    await bare.spend(9_000_000n);
    await rounds();
    expect([owing, off, bare].flatMap((each) => each.charges())).toEqual([]);
    expect(fake().calls.some(({ path }) => path === `/v1/payment_methods/${bare.card}/detach`)).toBe(true);
    expect(await bare.settings()).toMatchObject({ state: "off", card: null });
  });

  describe("are refused", () => {
    test("when one top-up would not lift the balance over the threshold, or the maximum is below it", async () => {
      const mara = await person();
      const ask = (threshold: bigint, monthlyMaximum: bigint, packageId = "usd_5") =>
        startAutoTopUp(mara.owner, { threshold, monthlyMaximum, packageId });
      expect(await ask(5_000_001n, 50_000_000n)).toBe("threshold too high");
      expect(await ask(5_000_000n, 4_999_999n)).toBe("maximum too low");
      expect(await ask(5_000_000n, 5_000_000n, "usd_6")).toBe("no such package");
      expect((await autoTopUpOf(mara.walletId)).state).toBe("off");
    });
  });
});
