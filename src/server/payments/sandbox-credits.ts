import { env } from "#env";
import { dollars } from "#money";
import { platformAccount } from "../ledger/accounts.ts";
import type { Sql } from "../platform/sql.ts";
import { toBigInt } from "../platform/sql.ts";
import { hasModelProvider } from "./provider.ts";

/**
 * A warning for the operator when the sandbox checkout gave out credits and a provider of models is
 * configured now, at which they can be spent. Closing the sandbox checkout does not take them back.
 * Null when there is nothing to warn of.
 */
export async function sandboxCreditsWarning(sql: Sql, modelsCost: boolean = hasModelProvider(env)): Promise<string | null> {
  if (!modelsCost) return null;
  const [row] = await sql.query(givenOutStatement, [platformAccount.sandboxCheckout]);
  const given = toBigInt(row?.given);
  if (given <= 0n) return null;
  return (
    `WARNING: the sandbox checkout gave out ${dollars(given)} of credits that nobody paid for, to ${String(row?.wallets)} wallet(s), ` +
    `which hold ${dollars(toBigInt(row?.held))} now and may have given some to others. ` +
    `They can be spent at the providers that are configured, at your cost. Start with an empty database unless you want that.`
  );
}

const givenOutStatement = {
  name: "payments_sandbox_credits",
  text: `
    SELECT
      (SELECT -(available + held) FROM account WHERE id = $1::uuid)
        - coalesce((SELECT sum(amount) FROM account_delta WHERE account_id = $1::uuid), 0)::bigint AS given,
      count(*) AS wallets, coalesce(sum(a.available + a.held), 0)::bigint AS held
    FROM account a
    WHERE a.id IN (SELECT wallet_id FROM payment WHERE provider = 'sandbox' AND status = 'paid')`,
};
