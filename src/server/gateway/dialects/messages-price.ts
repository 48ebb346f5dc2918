import { AppError } from "../../platform/errors.ts";
import type { Model } from "../../pricing/models.ts";
import type { Body, HeaderReader } from "./dialect.ts";
import { toolInstructions } from "./prompt.ts";
import { badRequest, isObject } from "./read.ts";
import { notAvailable, refuseMembers, refuseTiers, SHARED } from "./refuse.ts";

/**
 * Refuses requests to Anthropic's Messages API that have no listed price.
 *
 * Betas of any name are passed on. A beta allows members, tools and blocks in the body, and those are checked here; the
 * provider's usage counts what they cost. A beta's name is checked only when it changes a limit that holds rely on.
 */

/** The versions whose usage this server reads. The first applies without the header. */
const VERSIONS = ["2023-06-01", "2026-10-21"];

/** The headers to pass to the provider. Throws `bad_request` for an unknown version, or a beta without a price. */
export function readHeaders(header: HeaderReader, model: Model): Record<string, string> {
  const asked = header("anthropic-version")?.trim() ?? VERSIONS[0];
  const version = VERSIONS.find((known) => known === asked);
  if (version === undefined)
    throw badRequest("anthropic-version", `This server knows the versions ${VERSIONS.join(" and ")} of the Messages API.`);
  const betas = (header("anthropic-beta") ?? "")
    .split(",")
    .map((beta) => beta.trim())
    .filter((beta) => beta !== "");
  const strange = betas.find((beta) => !/^[\w.-]{1,100}$/.test(beta));
  if (strange !== undefined) throw badRequest("anthropic-beta", "`anthropic-beta` must be names, separated by commas.");
  for (const beta of betas) {
    const millions = Number(/^context-(\d{1,3})m-/.exec(beta)?.[1] ?? 0);
    if (millions * 1_000_000 > model.contextLength)
      throw notAvailable("anthropic-beta", `"${beta}" makes the context of ${model.id} longer than the one that has a price.`);
  }
  return { "anthropic-version": version, ...(betas.length === 0 ? {} : { "anthropic-beta": betas.join(",") }) };
}

const REFUSED: Readonly<Record<string, string>> = {
  container: "containers are billed by the hour and kept in an account that all apps share.",
  mcp_servers: "what remote tools cost has no price here.",
  fallbacks: "another model has other prices.",
  compaction: "the usage leaves out what it costs.",
  fallback_credit_token: "it changes the price of tokens, and belongs to an account that all apps share.",
  previous_message_id: SHARED,
};

/** Throws `bad_request` that names the first member of the body that has no price, or that refers to data stored at the provider. */
export function refuseUnpriced(body: Body, model: Model, headers: Readonly<Record<string, string>>): void {
  refuseMembers(body, REFUSED);
  refuseThreads(body.thread);
  refuseTiers(body, ["auto", "standard_only"]);
  if ((body.speed ?? "standard") !== "standard") throw notAvailable("speed", "this speed has prices of its own.");
  if ((body.inference_geo ?? "global") !== "global") throw notAvailable("inference_geo", "regions have prices of their own.");
  if (((isObject(body.billing_policy) ? body.billing_policy.bill_to : body.billing_policy) ?? "self") !== "self")
    throw notAvailable("billing_policy", "the wallet pays for requests here.");
  if (((isObject(body.diagnostics) ? body.diagnostics.previous_message_id : body.diagnostics) ?? null) !== null)
    throw notAvailable("diagnostics", SHARED);
  refuseOtherEdits(body.context_management);
  // A hold covers at most the model's own limit.
  if (/(?:^|,)output-\d+k-/.test(headers["anthropic-beta"] ?? "") && Number(body.max_tokens) > model.maxOutputTokens)
    throw badRequest("max_tokens", `\`max_tokens\` can be at most ${model.maxOutputTokens} with ${model.id}.`);
  const tools = body.tools ?? [];
  if (!Array.isArray(tools)) throw badRequest("tools", "`tools` must be a list.");
  for (const [index, tool] of (tools as unknown[]).entries()) requirePricedTool(tool, "tools", `tools[${index}]`);
}

/** Refuses `thread` with the `error_code` upon which Anthropic's clients send the whole conversation instead. */
function refuseThreads(thread: unknown): void {
  if ((thread ?? null) === null) return;
  throw new AppError("bad_request", {
    param: "thread",
    message: `\`thread\` is not available here: ${SHARED} Send the whole conversation in \`messages\`.`,
    members: { details: { error_code: "thread_unsupported_request", unsupported: ["thread"] } },
  });
}

/** Allows edits that clear parts of the prompt. One that summarises calls the model again, which the usage does not count. */
function refuseOtherEdits(management: unknown): void {
  if ((management ?? null) === null) return;
  const edits = isObject(management) ? (management.edits ?? []) : null;
  if (!Array.isArray(edits)) throw badRequest("context_management", "`context_management` must be an object with a list `edits`.");
  for (const [index, edit] of (edits as unknown[]).entries()) {
    const type = isObject(edit) ? edit.type : undefined;
    if (typeof type !== "string" || !type.startsWith("clear_"))
      throw notAvailable("context_management", `\`edits[${index}]\` can call the model more often than the usage tells.`);
  }
}

/** Throws `bad_request` for a tool that the provider runs. */
export function requirePricedTool(tool: unknown, field: string, place = "a tool"): void {
  if (isOwnTool(tool) || isClientTool(tool)) return;
  const type = isObject(tool) && typeof tool.type === "string" ? ` ("${tool.type.slice(0, 100)}")` : "";
  throw notAvailable(
    field,
    `${place}${type} is run by the provider. Only tools that your app runs have a price: its own, ${CLIENT_TOOLS}.`,
  );
}

function isOwnTool(tool: unknown): boolean {
  return isObject(tool) && (tool.type ?? "custom") === "custom";
}

const CLIENT_TOOLS = "bash, text_editor, memory, computer and browser";

/** Tools that Anthropic describes to the model and the app runs. */
function isClientTool(tool: unknown): boolean {
  return (
    isObject(tool) &&
    typeof tool.type === "string" &&
    /^(?:bash|text_editor|memory|computer|computer_toolset|browser_toolset)_\d{8}$/.test(tool.type)
  );
}

/**
 * Upper bound of the tokens that Anthropic adds to the prompt: instructions for tools, its descriptions of client tools,
 * instructions for structured output and for citations, and a tool's definition at each reference to it.
 */
export function instructionsOf(
  body: Body,
  text: string,
  { references, addedTools }: { references: number; addedTools: readonly unknown[] },
): number {
  const tools = [...(Array.isArray(body.tools) ? (body.tools as unknown[]) : []), ...addedTools];
  const written = tools.filter(isClientTool).reduce((sum: number, tool) => sum + (isToolset(tool) ? 10_000 : 2_000), 0);
  const isFormed = (body.output_format ?? null) !== null || (isObject(body.output_config) && (body.output_config.format ?? null) !== null);
  const cites = /"citations"\s*:/.test(text);
  const longest = references === 0 ? 0 : Math.max(0, ...tools.map((tool) => Buffer.byteLength(JSON.stringify(tool) ?? "")));
  return (
    (tools.length > 0 ? toolInstructions({ tools }) : 0) +
    written +
    (isFormed ? 1_000 : 0) +
    (cites ? 1_000 : 0) +
    references * (longest + 16)
  );
}

function isToolset(tool: unknown): boolean {
  return isObject(tool) && String(tool.type).includes("_toolset_");
}
