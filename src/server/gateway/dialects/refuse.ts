import type { AppError } from "../../platform/errors.ts";
import type { Model } from "../../pricing/models.ts";
import type { Body } from "./dialect.ts";
import { badRequest, isObject, readBoolean } from "./read.ts";

/** The error for a member that has no listed price, and so can't be billed exactly, or whose data all apps would share. */
export function notAvailable(field: string, why: string): AppError {
  return badRequest(field, `\`${field}\` is not available here: ${why}`);
}

/** All apps share the operator's account with the provider, so an app could read what another stored there. */
export const SHARED = "it refers to what is kept in this server's own account with the provider, which all apps share.";

/** Throws `bad_request`, with its reason, for the first of these members that is in the body and not null. */
export function refuseMembers(body: Body, reasons: Readonly<Record<string, string>>): void {
  for (const [field, why] of Object.entries(reasons)) if ((body[field] ?? null) !== null) throw notAvailable(field, why);
}

/** The error for a file that is referred to by its id; `field` is the member with the messages. */
export function fileRefused(field: string): AppError {
  return notAvailable(field, "a file id names something in an account that all apps share. Send the file itself.");
}

/** The tools of a request. Throws `bad_request` when they are no list, or when one costs more than tokens. */
export function readTools(body: Body, isPriced: (tool: unknown) => boolean, priced: string): readonly unknown[] {
  const tools = body.tools ?? [];
  if (!Array.isArray(tools)) throw badRequest("tools", "`tools` must be a list.");
  const index = tools.findIndex((tool) => !isPriced(tool));
  if (index !== -1) throw notAvailable("tools", `\`tools[${index}]\` is of another kind, and only ${priced} have a price.`);
  return tools;
}

/** A tool that the app runs, in the form of OpenAI's APIs. */
export function isOwnTool(tool: unknown): boolean {
  return isObject(tool) && (tool.type === "function" || tool.type === "custom");
}

/** Refuses long cache lifetimes: writes into OpenAI's prompt cache have a listed price only for the shortest. */
export function refuseLongCache(options: unknown, param: string): void {
  if (isObject(options) && (options.ttl ?? "30m") !== "30m")
    throw notAvailable(param, "only the prompt cache's shortest time has a listed price.");
}

/** Refuses members of OpenAI's APIs that change the price: service tiers, providers' additions that are billed by other units, and OpenRouter's choice of other models or hosts. */
export function refuseUnpricedOptions(body: Body, model: Model): void {
  refuseTiers(body, ["auto", "default", ...pricedTiers(model)]);
  for (const field of ["background", "deferred"])
    if (readBoolean(body, field)) throw notAvailable(field, "an answer that nobody waits for would have to be kept.");
  // xAI's own client sends `mode: "off"` in every request.
  const searches = isObject(body.search_parameters) && body.search_parameters.mode === "off" ? null : body.search_parameters;
  refuseMembers({ ...body, search_parameters: searches }, EXTRAS);
  if (model.provider === "openrouter") refuseMembers(body, ROUTING);
}

/**
 * Tiers with a known price: OpenAI's flex tier costs half, and Groq's cost the list price
 * (https://console.groq.com/docs/flex-processing).
 */
function pricedTiers(model: Model): string[] {
  if (model.provider === "groq") return ["on_demand", "flex"];
  return model.halfInFlex === true ? ["flex"] : [];
}

/** Throws `bad_request` for a tier other than these, because its price is not listed. */
export function refuseTiers(body: Body, priced: readonly string[]): void {
  if (!priced.includes((body.service_tier ?? "auto") as string)) throw notAvailable("service_tier", "this tier has prices of its own.");
}

const CHANGES_THE_PRICE = "it can change what the request costs.";
const EXTRAS = changingThePrice("search_parameters", "extra_body");
const ROUTING = changingThePrice("models", "route", "plugins", "provider", "preset");

function changingThePrice(...fields: string[]): Record<string, string> {
  return Object.fromEntries(fields.map((field) => [field, CHANGES_THE_PRICE]));
}
