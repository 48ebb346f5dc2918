import { v7 as uuidv7 } from "uuid";
import type { Sql } from "../platform/sql.ts";
import { toBigInt } from "../platform/sql.ts";
import { platformAccount } from "./accounts.ts";
import { type TransferReason, transfer } from "./transfer.ts";

// A refund or dispute takes back credits that may be spent already. A wallet is never negative, so the rest becomes its
// debt, which incoming credits repay first. Until then the wallet has nothing to hold: it is frozen, and holding needs
// no rule for debts.

/**
 * Locks the wallet's debt until the transaction ends; returns it in credits. A transaction that locks debt and wallet
 * locks the debt first, so that two of them can't deadlock.
 */
export async function lockDebt(tx: Sql, walletId: string): Promise<bigint> {
  const [row] = await tx.query(lockDebtStatement, [walletId]);
  return toBigInt(row?.amount);
}

const lockDebtStatement = {
  name: "ledger_lock_debt",
  text: `
    INSERT INTO debt (wallet_id, amount) VALUES ($1::uuid, 0)
    ON CONFLICT (wallet_id) DO UPDATE SET amount = debt.amount RETURNING amount`,
};

async function changeDebt(tx: Sql, walletId: string, by: bigint): Promise<void> {
  if (by !== 0n) await tx.query(changeDebtStatement, [walletId, by]);
}

const changeDebtStatement = {
  name: "ledger_change_debt",
  text: `UPDATE debt SET amount = amount + $2::bigint WHERE wallet_id = $1::uuid`,
};

/** Locks the wallet until the transaction ends; returns its available credits. */
async function lockAvailable(tx: Sql, walletId: string): Promise<bigint> {
  const [row] = await tx.query(lockAvailableStatement, [walletId]);
  if (row === undefined) throw new Error(`no wallet ${walletId}`);
  return toBigInt(row.available);
}

const lockAvailableStatement = {
  name: "ledger_lock_available",
  text: `SELECT available FROM account WHERE id = $1::uuid AND bounded FOR NO KEY UPDATE`,
};

type Correction = { walletId: string; otherId: string; amount: bigint; reason: TransferReason; description: string };

/** Takes credits from a wallet for `otherId`: `taken` from what is available, `owed` as a debt. */
export async function takeBack(tx: Sql, { walletId, otherId, amount, reason, description }: Correction) {
  await lockDebt(tx, walletId);
  const available = await lockAvailable(tx, walletId);
  const taken = available < amount ? available : amount;
  const owed = amount - taken;
  await move(tx, { debitId: walletId, creditId: otherId, amount: taken, reason, description });
  await move(tx, { debitId: platformAccount.receivable, creditId: otherId, amount: owed, reason, description });
  await changeDebt(tx, walletId, owed);
  return { taken, owed };
}

/** Reverses `takeBack`: lowers the wallet's debt by `forgiven`, and gives the wallet the rest, `given`. */
export async function giveBack(tx: Sql, { walletId, otherId, amount, reason, description }: Correction) {
  const debt = await lockDebt(tx, walletId);
  const forgiven = debt < amount ? debt : amount;
  const given = amount - forgiven;
  await move(tx, { debitId: otherId, creditId: platformAccount.receivable, amount: forgiven, reason, description });
  await changeDebt(tx, walletId, -forgiven);
  await move(tx, { debitId: otherId, creditId: walletId, amount: given, reason, description });
  return { given, forgiven };
}

/** Pays the wallet's debt from its available credits; returns the debt that is left. */
export async function repay(tx: Sql, walletId: string): Promise<bigint> {
  const debt = await lockDebt(tx, walletId);
  if (debt === 0n) return 0n;
  const available = await lockAvailable(tx, walletId);
  const amount = available < debt ? available : debt;
  await move(tx, {
    debitId: walletId,
    creditId: platformAccount.receivable,
    amount,
    reason: "correction",
    description: "Repays what a refund or dispute left open",
  });
  await changeDebt(tx, walletId, -amount);
  return debt - amount;
}

/** A wallet's debt, in credits. */
export async function debtOf(sql: Sql, walletId: string): Promise<bigint> {
  const [row] = await sql.query(debtStatement, [walletId]);
  return row === undefined ? 0n : toBigInt(row.amount);
}

const debtStatement = { name: "ledger_debt", text: `SELECT amount FROM debt WHERE wallet_id = $1::uuid` };

/**
 * Up to 500 wallets with a debt and available credits, which a settlement returned or a transfer added. The caller repays
 * each in a transaction of its own.
 */
export async function walletsToCollect(sql: Sql): Promise<string[]> {
  const rows = await sql.query(collectStatement, []);
  return rows.map((row) => String(row.wallet_id));
}

const collectStatement = {
  name: "ledger_wallets_to_collect",
  text: `SELECT d.wallet_id FROM debt d JOIN account a ON a.id = d.wallet_id WHERE d.amount > 0 AND a.available > 0 LIMIT 500`,
};

async function move(
  tx: Sql,
  { amount, ...rest }: { debitId: string; creditId: string; amount: bigint; reason: TransferReason; description: string },
) {
  if (amount === 0n) return;
  const outcome = await transfer(tx, { id: uuidv7(), amount, ...rest });
  if (outcome !== "applied") throw new Error(`a correction was ${outcome}`);
}
