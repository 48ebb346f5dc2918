import type { Payer } from "../ledger/hold.ts";
import type { TokenUsage } from "../pricing/price.ts";
import type { EventMeter } from "./dialects/event-meter.ts";
import type { Purchase } from "./purchase.ts";

/** What was used, where the provider reported nothing, or half of it. */
export async function countUsage(
  { dialect, request }: Purchase,
  { appId }: Payer,
  answer: Promise<number>,
  reported: EventMeter["promptUsage"] = null,
): Promise<TokenUsage> {
  const [promptTokens, completionTokens] = await Promise.all([reported?.promptTokens ?? dialect.countPrompt(request, appId), answer]);
  return { cachedTokens: 0, cacheWriteTokens: 0, ...reported, promptTokens, completionTokens };
}

/** The `quota` that an answer carries. A balance is told to those who may read it. */
export function quotaMember(
  { externalUserId }: Purchase,
  { billingMode, mayReadBalance }: Payer,
  charged: bigint | null,
  balanceAfter: bigint | null,
): string {
  const user = externalUserId === null ? "" : `,"external_user_id":${JSON.stringify(externalUserId)}`;
  return `{"credits_used":${charged},"balance_after":${mayReadBalance ? balanceAfter : null},"billing_mode":"${billingMode}"${user}}`;
}
