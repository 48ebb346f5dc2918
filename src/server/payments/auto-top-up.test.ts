import { describe, expect, test, vi } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { withStripe } from "#testing/payments.ts";
import { platformAccount } from "../ledger/accounts.ts";
import { transfer } from "../ledger/transfer.ts";
import { verify } from "../ledger/verify.ts";
import { newId } from "../platform/ids.ts";
import { autoTopUpOf, removeCard, startAutoTopUp, stopAutoTopUp, topUpAutomatically } from "./auto-top-up.ts";

onBothDatabases("automatic top-ups", (db) => {
  const { fake, deliverAll, mailsTo, person } = withStripe(db);
  const INTENTS = "/v1/payment_intents";

  /** Somebody who has left a card, with automatic top-ups of $10 below $2, up to $30 a month, and $10. */
  async function withCard(settings: Partial<Parameters<typeof startAutoTopUp>[1]> = {}) {
    const mara = await person();
    const started = await startAutoTopUp(mara.owner, {
      threshold: 2_000_000n,
      packageId: "usd_10",
      monthlyMaximum: 30_000_000n,
      ...settings,
    });
    expect(started).toBe("waiting_for_card");
    await deliverAll(fake().pay(await mara.checkout("usd_10", { saveCard: true })));
    const { paymentMethodId, customerId } = await db().prisma.billing.findUniqueOrThrow({ where: { userId: mara.id } });
    return {
      ...mara,
      card: paymentMethodId as string,
      customer: customerId as string,
      spend: (amount: bigint) =>
        transfer(db().sql, { id: newId(), debitId: mara.walletId, creditId: platformAccount.revenue, amount, reason: "correction" }),
      settings: () => autoTopUpOf(mara.walletId),
      charges: () => fake().calls.filter(({ path, params }) => path === INTENTS && params.customer === customerId),
      charged: () => db().prisma.payment.count({ where: { walletId: mara.walletId, automatic: true, status: "paid" } }),
    };
  }
  /** A round of the job in several servers at once. */
  const rounds = (now?: Date) => Promise.all([1, 2, 3, 4].map(() => topUpAutomatically(db(), now)));

  test("begin when a top-up has left a card, and charge it as Stripe publishes it", async () => {
    const mara = await withCard();
    expect(await mara.settings()).toMatchObject({ state: "on", card: "Visa •••• 4242" });
    await mara.spend(8_500_000n);
    await rounds();
    expect(await mara.balance()).toBe(11_500_000n);
    expect(mara.charges().map(({ params }) => params)).toEqual([
      expect.objectContaining({ amount: "1000", currency: "usd", payment_method: mara.card, off_session: "true", confirm: "true" }),
    ]);
    await vi.waitFor(() => expect(mailsTo(mara.email).at(-1)).toContain("were added automatically"));
    // The webhook's news of the same charge changes nothing.
    await deliverAll(fake().takeEvents());
    expect(await mara.balance()).toBe(11_500_000n);
    expect((await verify(db().sql)).discrepancies).toEqual([]);
  });

  test("charge once for each time the balance falls, however many servers look", async () => {
    const mara = await withCard();
    await mara.spend(8_500_000n);
    for (let round = 0; round < 3; round++) await rounds();
    expect(await mara.charged()).toBe(1);
    await mara.spend(10_000_000n);
    for (let round = 0; round < 3; round++) await rounds();
    expect(await mara.charged()).toBe(2);
    expect(mara.charges()).toHaveLength(2);
  });

  test("stop at the monthly maximum, and go on in the next month", async () => {
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

  test("whose answer was lost are asked again, and charge once", async () => {
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

  test("whose answer was lost are credited by the webhook, and not asked again", async () => {
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
  ] as const)("are stopped when the card is %s, with one mail, until the person puts them on again", async (card, problem) => {
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

  test("that take their time are credited when they arrive, and nothing is charged beside them", async () => {
    const mara = await withCard();
    fake().setCard(mara.card, "processing");
    await mara.spend(9_000_000n);
    await rounds();
    await rounds(new Date(Date.now() + 61_000));
    expect([mara.charges().length, await mara.balance()]).toEqual([1, 1_000_000n]);
    expect(await mara.settings()).toMatchObject({ state: "on", addedThisMonth: 10_000_000n });
  });

  test("charge nothing for a wallet that owes, or when they were turned off or the card removed", async () => {
    const owing = await withCard();
    const [first] = await db().prisma.payment.findMany({ where: { walletId: owing.walletId }, include: { intent: true } });
    await owing.spend(9_000_000n);
    await deliverAll(fake().refund(first?.intent?.id as string, 1_000).events);
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
