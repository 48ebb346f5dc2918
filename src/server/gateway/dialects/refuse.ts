import type { AppError } from "../../platform/errors.ts";
import type { Model } from "../../pricing/models.ts";
import type { Body } from "./dialect.ts";
import { isObject, readBoolean, wrong } from "./read.ts";

/** What has no price on the list, and what all apps would share. */

/** What has no price of its own here can't be billed exactly, so it is refused rather than guessed. */
export function notAvailable(field: string, why: string): AppError {
  return wrong(field, `\`${field}\` is not available here: ${why}`);
}

/** All apps share the operator's account with the provider: what one of them left there, another could read. */
export const SHARED = "it refers to what is kept in this server's own account with the provider, which all apps share.";

/** Refuses each of these members that says something, with its reason. */
export function refuseMembers(body: Body, reasons: Readonly<Record<string, string>>): void {
  for (const [field, why] of Object.entries(reasons)) if ((body[field] ?? null) !== null) throw notAvailable(field, why);
}

/** A file that only the provider has; `field` is the member with the messages. */
export function fileRefused(field: string): AppError {
  return notAvailable(field, "a file id names something in an account that all apps share. Send the file itself.");
}

/** The tools of a request. Throws when they are no list, or one of them is not of those that cost tokens only. */
export function readTools(body: Body, isPriced: (tool: unknown) => boolean, priced: string): readonly unknown[] {
  const tools = body.tools ?? [];
  if (!Array.isArray(tools)) throw wrong("tools", "`tools` must be a list.");
  const index = tools.findIndex((tool) => !isPriced(tool));
  if (index !== -1) throw notAvailable("tools", `\`tools[${index}]\` is of another kind, and only ${priced} have a price.`);
  return tools;
}

/** A tool that the app runs, in the form of OpenAI's APIs. */
export function isOwnTool(tool: unknown): boolean {
  return isObject(tool) && (tool.type === "function" || tool.type === "custom");
}

/** What is written into OpenAI's prompt cache has one price on the list, that of the shortest time. */
export function refuseLongCache(options: unknown, param: string): void {
  if (isObject(options) && (options.ttl ?? "30m") !== "30m")
    throw notAvailable(param, "only the prompt cache's shortest time has a listed price.");
}

/** What of OpenAI's APIs has a price of its own: other tiers, what providers added and bill by other units, and OpenRouter's ways to another model or host. */
export function refuseUnpricedOptions(body: Body, model: Model): void {
  refuseTiers(body, ["auto", "default", ...pricedTiers(model)]);
  for (const field of ["background", "deferred"])
    if (readBoolean(body, field)) throw notAvailable(field, "an answer that nobody waits for would have to be kept.");
  // xAI's own client says so in every request.
  const searches = isObject(body.search_parameters) && body.search_parameters.mode === "off" ? null : body.search_parameters;
  refuseMembers({ ...body, search_parameters: searches }, EXTRAS);
  if (model.provider === "openrouter") refuseMembers(body, ROUTING);
}

/**
 * OpenAI's flex tier costs half, and Groq's tiers cost the list price: https://console.groq.com/docs/flex-processing.
 * Elsewhere a tier costs what is not on the list.
 */
function pricedTiers(model: Model): string[] {
  if (model.provider === "groq") return ["on_demand", "flex"];
  return model.halfInFlex === true ? ["flex"] : [];
}

/** Tiers other than these have prices that are not on the list. */
export function refuseTiers(body: Body, priced: readonly string[]): void {
  if (!priced.includes((body.service_tier ?? "auto") as string)) throw notAvailable("service_tier", "this tier has prices of its own.");
}

const CHANGES_THE_PRICE = "it can change what the request costs.";
const EXTRAS = changingThePrice("search_parameters", "extra_body");
const ROUTING = changingThePrice("models", "route", "plugins", "provider", "preset");

function changingThePrice(...fields: string[]): Record<string, string> {
  return Object.fromEntries(fields.map((field) => [field, CHANGES_THE_PRICE]));
}
