import { requestIdOf } from "../platform/ids.ts";
import { cell } from "./csv.ts";
import type { RequestItem } from "./dashboard.ts";

/** An app's requests as a file. Amounts are whole credits. */

const columns = [
  "time",
  "request_id",
  "status",
  "external_user_id",
  "billing_mode",
  "api_key",
  "endpoint",
  "model",
  "provider",
  "upstream_status",
  "stream",
  "duration_ms",
  "input_tokens",
  "cached_tokens",
  "output_tokens",
  "held_credits",
  "base_credits",
  "markup_credits",
  "paid_credits",
] as const;

export const REQUESTS_HEAD = `${columns.join(",")}\r\n`;

export function requestRow(item: RequestItem & { apiKey: { name: string; fragment: string } | null }): string {
  const cells: Record<(typeof columns)[number], string> = {
    time: item.createdAt.toISOString(),
    request_id: requestIdOf(item.id),
    status: item.outcome,
    external_user_id: cell(item.externalUserId ?? ""),
    billing_mode: item.billingMode,
    api_key: cell(item.apiKey?.name ?? ""),
    endpoint: cell(item.endpoint),
    model: cell(item.model),
    provider: cell(item.provider ?? ""),
    upstream_status: String(item.upstreamStatus ?? ""),
    stream: String(item.streamed),
    duration_ms: String(item.durationMs),
    input_tokens: String(item.promptTokens),
    cached_tokens: String(item.cachedTokens),
    output_tokens: String(item.completionTokens),
    held_credits: String(item.held),
    base_credits: String(item.base),
    markup_credits: String(item.markup),
    paid_credits: String(item.base + item.markup),
  };
  return `${columns.map((column) => cells[column]).join(",")}\r\n`;
}
