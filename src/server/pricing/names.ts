import type { ProviderId } from "./catalogue.ts";
import type { Model } from "./models.ts";

/**
 * Other names for models of the list: what providers' own documentation, their clients and other gateways call them. A
 * name stands for a model only where it can mean no other and costs what the model costs; the rest is unknown, with the
 * nearest names in the error. What is billed, limited and reported is always the model of the list.
 */

/**
 * Dated names at the price of the undated one, as OpenAI's page on deprecations and Anthropic's on model ids list them,
 * seen on 2026-11-29. A provider is asked for the dated name. Not here, because it costs more than gpt-4o ($5 and $15):
 * gpt-4o-2024-05-13, like chatgpt-4o-latest. A snapshot of the future is unknown until somebody has seen its price.
 */
const SNAPSHOTS: Readonly<Record<string, string>> = {
  "gpt-5.5-2026-04-23": "gpt-5.5",
  "gpt-5.4-2026-03-05": "gpt-5.4",
  "gpt-5.4-mini-2026-03-17": "gpt-5.4-mini",
  "gpt-5.4-nano-2026-03-17": "gpt-5.4-nano",
  "gpt-5.2-2025-12-11": "gpt-5.2",
  "gpt-5-2025-08-07": "gpt-5",
  "gpt-5-mini-2025-08-07": "gpt-5-mini",
  "gpt-5-nano-2025-08-07": "gpt-5-nano",
  "o3-2025-04-16": "o3",
  "gpt-4.1-2025-04-14": "gpt-4.1",
  "gpt-4.1-mini-2025-04-14": "gpt-4.1-mini",
  "gpt-4o-2024-11-20": "gpt-4o",
  "gpt-4o-2024-08-06": "gpt-4o",
  "gpt-4o-mini-2024-07-18": "gpt-4o-mini",
  "claude-haiku-4-5-20251001": "claude-haiku-4-5",
};

/** What stands before a model's own name in other gateways' lists, and in Google's. */
const VENDORS: Readonly<Record<string, ProviderId>> = {
  openai: "openai",
  anthropic: "anthropic",
  google: "google",
  gemini: "google",
  models: "google",
  mistralai: "mistral",
  mistral: "mistral",
  deepseek: "deepseek",
  xai: "xai",
  "x-ai": "xai",
};

/** The model that a name stands for, with what its provider is to be asked for as `upstreamId`; undefined for none or several. */
export function resolveName(models: ReadonlyMap<string, Model>, name: string): Model | undefined {
  const exact = models.get(name);
  if (exact !== undefined || name.length > LONGEST_NAME) return exact;
  const slash = name.indexOf("/");
  const vendor = Object.hasOwn(VENDORS, name.slice(0, slash)) ? VENDORS[name.slice(0, slash)] : undefined;
  if (slash === -1) return resolveOwn(models, name);
  const own = vendor === undefined ? undefined : resolveOwn(models, name.slice(slash + 1));
  if (own !== undefined && own.provider === vendor) return own;
  // What a host of many makers' models calls one of them: `openai/gpt-oss-120b` at Groq.
  return only([...models.values()].filter(({ upstreamId, custom }) => upstreamId === name && !custom));
}

/** Names as a model's own provider has them. */
function resolveOwn(models: ReadonlyMap<string, Model>, name: string): Model | undefined {
  // Other gateways write Claude's versions with a full stop.
  const plain = name.startsWith("claude-") ? name.replace(/(?<=\d)\.(?=\d)/g, "-").replace("@", "-") : name;
  const exact = models.get(plain);
  if (exact !== undefined) return exact;
  const snapshotOf = Object.hasOwn(SNAPSHOTS, plain) ? SNAPSHOTS[plain] : undefined;
  if (snapshotOf !== undefined) {
    const model = models.get(snapshotOf);
    // An operator's own model of that name may be anything.
    return model === undefined || model.custom ? undefined : { ...model, upstreamId: plain };
  }
  return plain.endsWith("-latest") ? resolveLatest(models, plain.slice(0, -"latest".length)) : undefined;
}

/**
 * `codestral-latest`: the one model whose name goes on with nothing but a version, or the model itself. The provider is
 * asked for it under the list's name, so what it costs does not change when the provider lets its own alias move on.
 */
function resolveLatest(models: ReadonlyMap<string, Model>, series: string): Model | undefined {
  const itself = models.get(series.slice(0, -1));
  if (itself !== undefined) return itself;
  return only(
    [...models.values()].filter(({ id, custom }) => !custom && id.startsWith(series) && /^\d[\d.-]*$/.test(id.slice(series.length))),
  );
}

function only(models: readonly Model[]): Model | undefined {
  return models.length === 1 ? models[0] : undefined;
}

/** No name is nearly as long, and an operator's own are at most this. */
const LONGEST_NAME = 200;

/** Up to three ids of the list that a name may have meant, the nearest first; none when nothing is near. */
export function nearestNames(ids: Iterable<string>, name: string): string[] {
  const wanted = plainName(name.slice(0, LONGEST_COMPARED));
  const ranked = [...ids]
    .map((id) => {
      const plain = plainName(id);
      return { id, distance: Math.min(nearness(wanted, plain), nearness(wordsFirst(wanted), wordsFirst(plain))) };
    })
    .filter(({ distance }) => distance <= FARTHEST)
    .sort((a, b) => a.distance - b.distance || a.id.length - b.id.length);
  return ranked.slice(0, 3).map(({ id }) => id);
}

/** The time that a comparison takes grows with the square of this. */
const LONGEST_COMPARED = 64;

/** Of 1, which is nothing in common. */
const FARTHEST = 0.4;

/** Without case, maker and date: what is left tells models apart. */
function plainName(name: string): string {
  return name
    .toLowerCase()
    .slice(name.lastIndexOf("/") + 1)
    .replace(/[-@](20\d\d-\d\d-\d\d|20\d{6}|latest)$/, "")
    .replaceAll(".", "-");
}

/** `claude-3-5-haiku` as `claude-haiku-3-5`: makers have changed where the version stands. */
function wordsFirst(name: string): string {
  const parts = name.split("-");
  return [...parts.filter((part) => !/^\d/.test(part)), ...parts.filter((part) => /^\d/.test(part))].join("-");
}

/** The share of the letters that differ; a name that goes on where the other ends is nearer than one that differs within. */
function nearness(one: string, other: string): number {
  const [short, long] = one.length < other.length ? [one, other] : [other, one];
  if (short.length >= 3 && long.startsWith(short)) return Math.min(FARTHEST, (long.length - short.length) / (2 * long.length));
  // At least as many letters differ as the lengths do.
  if (long.length - short.length > FARTHEST * long.length) return 1;
  return distance(one, other) / Math.max(long.length, 1);
}

/** Letters to insert, remove or replace (Levenshtein). */
function distance(one: string, other: string): number {
  const row = Uint16Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let at = 1; at <= one.length; at++) {
    let before = at - 1;
    row[0] = at;
    for (let to = 1; to <= other.length; to++) {
      const above = row[to] as number;
      const replaced = before + (one.charCodeAt(at - 1) === other.charCodeAt(to - 1) ? 0 : 1);
      row[to] = Math.min(replaced, above + 1, (row[to - 1] as number) + 1);
      before = above;
    }
  }
  return row[other.length] as number;
}
