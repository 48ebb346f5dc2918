import { AppError } from "../../platform/errors.ts";
import { LARGE_JSON, parseJson } from "../../platform/json.ts";
import { findModel, type Model } from "../../pricing/models.ts";
import { unknownModel } from "../available.ts";
import type { Body, CompletionRequest } from "./dialect.ts";
import { DuplicateMemberError, type JsonMember, topLevelMembers } from "./json-text.ts";

/** The names of members that the cost depends on, by their normalised form. */
type PricedFields = ReadonlyMap<string, string>;

export function pricedFields(names: readonly string[]): PricedFields {
  return new Map(names.map((name) => [plainName(name), name]));
}

/**
 * Some providers' parsers read `maxTokens` or `Model` as the member that it resembles,
 * so the provider could read another value than the ledger.
 */
const plainName = (name: string) => name.normalize("NFKC").toLowerCase().replaceAll("_", "");

function parseBody(text: string, priced: PricedFields): Pick<CompletionRequest, "body" | "members"> {
  const body = parseJson(text, LARGE_JSON);
  if (!isObject(body)) throw badRequest(null, "The request body must be a JSON object.");
  const names = Object.keys(body);
  if (names.length > MOST_FIELDS) throw badRequest(null, `The request body has more than ${MOST_FIELDS} fields.`);
  for (const name of names) {
    // NFKC can make a name many times longer.
    if (name.length > LONGEST_FIELD)
      throw badRequest(null, `The request body has a field whose name is longer than ${LONGEST_FIELD} characters.`);
    const known = priced.get(plainName(name));
    if (known !== undefined && known !== name) throw badRequest(name, `The field \`${name}\` looks like \`${known}\`; write it that way.`);
  }
  return { body, members: uniqueMembers(text) };
}

/** The members of an object's text. Throws bad_request for a name that occurs twice; `path` is that of the object, with its dot. */
export function uniqueMembers(text: string, path = ""): Map<string, JsonMember> {
  try {
    return topLevelMembers(text);
  } catch (error) {
    if (!(error instanceof DuplicateMemberError)) throw error;
    const name = `${path}${error.member}`;
    throw badRequest(name, `The field \`${name}\` stands twice in the request body.`);
  }
}

/** No API has as many members, nor names as long. */
const MOST_FIELDS = 1_000;
const LONGEST_FIELD = 256;

function readModel(body: Body, kind: Model["kind"]): Model {
  if (typeof body.model !== "string" || body.model === "") throw badRequest("model", "`model` must be the id of a model.");
  const model = findModel(body.model);
  if (model === undefined) throw unknownModel(body.model, "model", kind);
  if (model.kind !== kind) {
    throw badRequest(
      "model",
      kind === "chat" ? `${model.id} makes embeddings, not completions.` : `${model.id} makes completions, not embeddings.`,
    );
  }
  return model;
}

export function readMessages(body: Body): Body[] {
  if (!Array.isArray(body.messages) || body.messages.length === 0)
    throw badRequest("messages", "`messages` must be a list with at least one message.");
  const messages = body.messages as unknown[];
  messages.forEach((message, index) => {
    if (!isObject(message)) throw badRequest(`messages[${index}]`, `\`messages[${index}]\` must be an object.`);
    if (typeof message.role !== "string") throw badRequest(`messages[${index}].role`, `\`messages[${index}].role\` must be a string.`);
  });
  return messages as Body[];
}

export function readBoolean(body: Body, field: string): boolean {
  const value = body[field] ?? false;
  if (typeof value !== "boolean") throw badRequest(field, `\`${field}\` must be true or false.`);
  return value;
}

export function readObject(body: Body, field: string): Body | null {
  const value = body[field] ?? null;
  if (value !== null && !isObject(value)) throw badRequest(field, `\`${field}\` must be an object.`);
  return value;
}

export function readInteger(body: Body, field: string, least: number, most: number): number | null {
  const value = body[field] ?? null;
  if (value === null) return null;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least || value > most) {
    throw badRequest(
      field,
      `\`${field}\` must be a whole number of at least ${least}${most === Number.MAX_SAFE_INTEGER ? "" : ` and at most ${most}`}.`,
    );
  }
  return value;
}

export function isObject(value: unknown): value is Body {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function badRequest(param: string | null, message: string): AppError {
  return new AppError("bad_request", { param, message });
}

/** What the requests of all dialects have. */
export type CommonRequest = Pick<CompletionRequest, "text" | "body" | "members" | "model" | "stream">;

/** Parses a body and reads what all dialects have. Throws `bad_request` that names the wrong field, or `model_not_found`. */
export function readCommon(text: string, priced: PricedFields, kind: Model["kind"]): CommonRequest {
  const { body, members } = parseBody(text, priced);
  return { text, body, members, model: readModel(body, kind), stream: kind === "chat" && readBoolean(body, "stream") };
}

/**
 * The output limit of a request: the lowest value of these members, at most the model's. `least` is the smallest value
 * that the API takes.
 */
export function readOutputLimit(
  { body, model }: CommonRequest,
  names: readonly string[],
  least = 1,
): Pick<CompletionRequest, "askedOutput" | "isLimitChosen" | "outputLimitFields"> {
  const fields = names.filter((field) => (body[field] ?? null) !== null);
  const asked = fields.map((field) => readInteger(body, field, least, Number.MAX_SAFE_INTEGER) as number);
  return {
    askedOutput: asked.length === 0 ? null : Math.min(...asked, model.maxOutputTokens),
    isLimitChosen: asked.length > 0,
    outputLimitFields: fields,
  };
}
