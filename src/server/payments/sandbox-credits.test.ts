import { expect, test } from "vitest";
import { onBothDatabases } from "#testing/database.ts";
import { makeUser } from "#testing/makers.ts";
import { platformAccount } from "../ledger/accounts.ts";
import { transfer } from "../ledger/transfer.ts";
import { transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { markPaid } from "./fulfil.ts";
import { sandboxCreditsWarning } from "./sandbox-credits.ts";

onBothDatabases("credits of the sandbox checkout", (db) => {
  test("are warned of at the start when a provider of models is configured, and only then", async () => {
    expect(await sandboxCreditsWarning(db().sql, true)).toBeNull();
    const { id: userId, walletId } = await makeUser(db());
    const order = { provider: "sandbox", amount: 10_000_000n, cents: 1_000, expiresAt: new Date() } as const;
    const { id } = await db().prisma.payment.create({ data: { id: newId(), userId, walletId, ...order } });
    expect(await sandboxCreditsWarning(db().sql, true)).toBeNull();
    await transaction((tx) => markPaid(tx, id, null), db());
    const spent = { debitId: walletId, creditId: platformAccount.revenue, amount: 4_000_000n, reason: "correction" } as const;
    await transfer(db().sql, { id: newId(), ...spent });
    expect(await sandboxCreditsWarning(db().sql, true)).toMatch(/gave out \$10\.00 .* to 1 wallet.* hold \$6\.00 now/);
    expect(await sandboxCreditsWarning(db().sql, false)).toBeNull();
  });
});
