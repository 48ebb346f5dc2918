import type { Payer } from "../ledger/hold.ts";
import type { TokenUsage } from "../pricing/price.ts";
import type { EventMeter } from "./dialects/event-meter.ts";
import type { Purchase } from "./purchase.ts";

/** Counts the tokens of an answer whose provider reported no usage, or (`reported`) only that of the prompt. `answer`: its output tokens. */
export async function countUsage(
  { dialect, request }: Purchase,
  { appId }: Payer,
  answer: Promise<number>,
  reported: EventMeter["promptUsage"] = null,
): Promise<TokenUsage> {
  const [promptTokens, completionTokens] = await Promise.all([reported?.promptTokens ?? dialect.countPrompt(request, appId), answer]);
  return { cachedTokens: 0, cacheWriteTokens: 0, ...reported, promptTokens, completionTokens };
}

/** The `quota` member of an answer, as JSON. It has the balance only when the app may read balances. */
export function quotaMember(
  { externalUserId }: Purchase,
  { billingMode, mayReadBalance }: Payer,
  charged: bigint | null,
  balanceAfter: bigint | null,
): string {
  const user = externalUserId === null ? "" : `,"external_user_id":${JSON.stringify(externalUserId)}`;
  return `{"credits_used":${charged},"balance_after":${mayReadBalance ? balanceAfter : null},"billing_mode":"${billingMode}"${user}}`;
}
