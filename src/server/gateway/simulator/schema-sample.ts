/** Sample values that are valid for a JSON schema, for the arguments of functions and for structured answers. */

import { bounds, ceilTo, leastWhole } from "./number-bounds.ts";
import { MAX_TEXT, textForPattern } from "./pattern-text.ts";

/** No value of at most `MAX_NODES` nodes fits the schema. The message is for the developer who wrote the schema. */
export class UnusableSchemaError extends Error {
  override name = "UnusableSchemaError";
}

export interface SampleHints {
  /** The same seed gives the same sample. */
  seed: number;
  /** The topic of the conversation, for fields such as "query" or "title". */
  topic: string;
  /** A place that the user message names, for fields such as "city". */
  place?: string;
}

/**
 * A value valid for `schema` (JSON Schema as used by OpenAI's functions and structured outputs: types, enum, const,
 * properties, required, items, prefixItems, $ref and $defs, anyOf, oneOf, allOf, formats, bounds, simple patterns).
 * `not`, `if` and `dependentSchemas` are ignored.
 *
 * @throws UnusableSchemaError if a $ref has no target, no value exists, or every value has more than `MAX_NODES` nodes.
 */
export function sampleForSchema(schema: unknown, hints: SampleHints): unknown {
  const sampler: Sampler = { root: schema, hints, nodesLeft: MAX_NODES };
  return sample(schema, { name: "", depth: 0, position: 0, references: [] }, sampler);
}

/** The largest sample, in values, because a schema may ask for any number of items. */
const MAX_NODES = 5000;

/** From this depth on, samples are as small as allowed, so that those of recursive schemas are finite. */
const DEEP = 4;
const MAX_DEPTH = 60;

interface Sampler {
  root: unknown;
  hints: SampleHints;
  nodesLeft: number;
}

interface Place {
  /** The name of the property, by which a plausible value is chosen. */
  name: string;
  depth: number;
  /** The index of an array's item, so that items differ. */
  position: number;
  /** The references followed since the last property or item, to detect cycles of references. */
  references: string[];
}

type Schema = Record<string, unknown>;

function sample(schema: unknown, place: Place, sampler: Sampler): unknown {
  sampler.nodesLeft -= 1;
  if (sampler.nodesLeft < 0) throw new UnusableSchemaError("The schema asks for more than 5000 values.");
  if (place.depth > MAX_DEPTH) throw new UnusableSchemaError("The schema is nested too deeply, or requires itself.");
  if (schema === false) throw new UnusableSchemaError("The schema `false` allows no value.");
  if (!isSchema(schema)) return plainText({}, place, sampler);

  if (typeof schema.$ref === "string") return sampleReference(schema, schema.$ref, place, sampler);
  if (Array.isArray(schema.allOf)) return sample(mergeAll(schema, schema.allOf, sampler), place, sampler);
  if ("const" in schema) return schema.const;
  if (Array.isArray(schema.enum)) return pickOne(schema.enum, place, sampler);
  const branches = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(branches)) return sampleBranch(schema, branches, place, sampler);

  switch (typeOf(schema, place)) {
    case "object":
      return sampleObject(schema, place, sampler);
    case "array":
      return sampleArray(schema, place, sampler);
    case "number":
      return sampleNumber(schema, place, sampler, false);
    case "integer":
      return sampleNumber(schema, place, sampler, true);
    case "boolean":
      return (varied(place, sampler) + place.position) % 2 === 0;
    case "null":
      return null;
    default:
      return sampleString(schema, place, sampler);
  }
}

function sampleReference(schema: Schema, reference: string, place: Place, sampler: Sampler): unknown {
  if (place.references.includes(reference)) {
    throw new UnusableSchemaError(`The reference ${reference} only leads to itself.`);
  }
  const { $ref: _, ...beside } = schema;
  const target = resolve(reference, sampler.root);
  const whole = isSchema(target) ? mergeTwo(target, beside) : target;
  return sample(whole, { ...place, references: [...place.references, reference] }, sampler);
}

function resolve(reference: string, root: unknown): unknown {
  let target = root;
  const path = reference === "#" ? [] : reference.replace(/^#\//, "").split("/");
  for (const step of reference.startsWith("#") ? path : [reference]) {
    const key = decodeStep(step);
    const isThere = typeof target === "object" && target !== null && Object.hasOwn(target, key);
    if (!isThere) throw new UnusableSchemaError(`The reference ${reference} leads nowhere in the schema.`);
    target = (target as Schema)[key];
  }
  return target;
}

function decodeStep(step: string): string {
  const pointer = step.replaceAll("~1", "/").replaceAll("~0", "~");
  try {
    return decodeURIComponent(pointer);
  } catch {
    return pointer;
  }
}

function mergeAll(schema: Schema, parts: unknown[], sampler: Sampler): Schema {
  const { allOf: _, ...own } = schema;
  let merged: Schema = own;
  for (const part of parts) {
    if (!isSchema(part)) continue;
    let followed = 0;
    let whole = part;
    while (typeof whole.$ref === "string") {
      followed += 1;
      if (followed > MAX_DEPTH) throw new UnusableSchemaError(`The reference ${whole.$ref} only leads to itself.`);
      const { $ref, ...beside } = whole;
      const target = resolve(String($ref), sampler.root);
      whole = isSchema(target) ? mergeTwo(target, beside) : beside;
    }
    const { allOf: inner, ...rest } = whole;
    merged = mergeTwo(merged, rest);
    // A part may have an `allOf` too; its parts join the list that the next call merges.
    if (Array.isArray(inner)) merged.allOf = [...(Array.isArray(merged.allOf) ? merged.allOf : []), ...inner];
  }
  sampler.nodesLeft -= parts.length;
  return merged;
}

function mergeTwo(one: Schema, other: Schema): Schema {
  const merged: Schema = { ...one, ...other };
  if (isSchema(one.properties) && isSchema(other.properties)) {
    merged.properties = { ...one.properties, ...other.properties };
  }
  if (Array.isArray(one.required) && Array.isArray(other.required)) {
    merged.required = [...new Set([...one.required, ...other.required])];
  }
  if (isSchema(one.$defs) && isSchema(other.$defs)) merged.$defs = { ...one.$defs, ...other.$defs };
  for (const key of ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"]) {
    const [a, b] = [one[key], other[key]];
    if (typeof a === "number" && typeof b === "number") merged[key] = Math.max(a, b);
  }
  for (const key of ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"]) {
    const [a, b] = [one[key], other[key]];
    if (typeof a === "number" && typeof b === "number") merged[key] = Math.min(a, b);
  }
  return merged;
}

/** A sample of the first branch that has one; from depth `DEEP` on, the simplest branch comes first. */
function sampleBranch(schema: Schema, branches: unknown[], place: Place, sampler: Sampler): unknown {
  const { anyOf: _, oneOf: __, ...own } = schema;
  const isNull = (branch: unknown) => isSchema(branch) && branch.type === "null";
  const weight = (branch: unknown) => {
    if (isNull(branch)) return place.depth >= DEEP ? 0 : 9;
    if (place.depth < DEEP || !isSchema(branch)) return 1;
    return "$ref" in branch || "anyOf" in branch ? 3 : branch.type === "object" || branch.type === "array" ? 2 : 1;
  };
  let failure: unknown = new UnusableSchemaError("The schema has an anyOf or oneOf without branches.");
  for (const branch of branches.toSorted((a, b) => weight(a) - weight(b))) {
    try {
      const whole = isSchema(branch) ? mergeTwo(own, branch) : branch;
      return sample(whole, place, sampler);
    } catch (error) {
      if (!(error instanceof UnusableSchemaError) || sampler.nodesLeft < 0) throw error;
      failure = error;
    }
  }
  throw failure;
}

function typeOf(schema: Schema, place: Place): string {
  const { type } = schema;
  if (typeof type === "string") return type;
  if (Array.isArray(type)) {
    const other = type.find((one) => one !== "null");
    const prefersNull = place.depth >= DEEP && type.includes("null") && (other === "object" || other === "array");
    return other === undefined || prefersNull ? "null" : String(other);
  }
  if ("properties" in schema || "required" in schema || "additionalProperties" in schema) return "object";
  if ("items" in schema || "prefixItems" in schema) return "array";
  if (["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"].some((key) => key in schema)) {
    return "number";
  }
  return "string";
}

function sampleObject(schema: Schema, place: Place, sampler: Sampler): Record<string, unknown> {
  const properties = isSchema(schema.properties) ? schema.properties : {};
  const required = Array.isArray(schema.required) ? schema.required.filter((key) => typeof key === "string") : [];
  const most = count(schema.maxProperties) ?? Number.POSITIVE_INFINITY;
  const least = count(schema.minProperties) ?? 0;
  const entries = new Map<string, unknown>();
  const add = (key: string, inner: unknown) => {
    entries.set(key, sample(inner, { name: key, depth: place.depth + 1, position: place.position, references: [] }, sampler));
  };

  for (const key of Object.keys(properties)) {
    if (required.includes(key)) add(key, properties[key]);
  }
  for (const key of required) {
    if (!entries.has(key)) add(key, schema.additionalProperties ?? true);
  }
  for (const key of Object.keys(properties)) {
    if (entries.has(key) || entries.size >= most) continue;
    if (place.depth >= DEEP - 1 && entries.size >= least) continue;
    addIfPossible(() => add(key, properties[key]), sampler);
  }
  for (let extra = 1; entries.size < least; extra += 1) {
    if (schema.additionalProperties === false) {
      throw new UnusableSchemaError("An object must have more properties than its schema allows.");
    }
    add(`key${extra}`, schema.additionalProperties ?? true);
  }
  // Object.fromEntries makes "__proto__" an own property; an assignment would set the prototype.
  return Object.fromEntries(entries);
}

/** An optional property that has no value is left out. */
function addIfPossible(add: () => void, sampler: Sampler): void {
  try {
    add();
  } catch (error) {
    if (!(error instanceof UnusableSchemaError) || sampler.nodesLeft < 0) throw error;
  }
}

function sampleArray(schema: Schema, place: Place, sampler: Sampler): unknown[] {
  const first = Array.isArray(schema.prefixItems) ? schema.prefixItems : [];
  const rest = schema.items ?? true;
  const least = count(schema.minItems) ?? 0;
  const most = Math.min(count(schema.maxItems) ?? Number.POSITIVE_INFINITY, rest === false ? first.length : Infinity);
  if (least > most) throw new UnusableSchemaError("An array must have more items than its schema allows.");
  const natural = place.depth >= DEEP ? 0 : place.depth < 2 ? 2 : 1;
  const length = Math.min(Math.max(natural, least, first.length), most);

  const items: unknown[] = [];
  for (let position = 0; position < length; position += 1) {
    const inner = position < first.length ? first[position] : rest;
    // With `uniqueItems`, an enum or boolean runs out of different items; the array ends there if `minItems` allows it.
    const item = sample(inner, { name: singular(place.name), depth: place.depth + 1, position, references: [] }, sampler);
    const repeats = schema.uniqueItems === true && items.some((one) => JSON.stringify(one) === JSON.stringify(item));
    if (!repeats) items.push(item);
    else if (items.length >= least) break;
    else throw new UnusableSchemaError("An array must have more different items than could be found.");
  }
  return items;
}

function sampleNumber(schema: Schema, place: Place, sampler: Sampler, whole: boolean): number {
  const step = typeof schema.multipleOf === "number" && schema.multipleOf > 0 ? schema.multipleOf : whole ? 1 : undefined;
  const unit = step === undefined ? 0.5 : whole && !Number.isInteger(step) ? leastWhole(step) : step;
  const [low, high] = bounds(schema, unit);
  if (low > high) throw new UnusableSchemaError("A number must be larger than its schema allows.");

  const around = low === -Infinity ? (high === Infinity ? 1 : Math.min(1, high)) : Math.max(low, Math.min(1, high));
  const steps = varied(place, sampler) % 20;
  const candidates = [around + (steps + place.position) * unit, around + place.position * unit, around, low, high];
  for (const candidate of candidates.filter(Number.isFinite)) {
    const value = step === undefined ? candidate : ceilTo(candidate, unit);
    if (value >= low && value <= high) return value;
  }
  // Without `multipleOf`, any number between the bounds is valid.
  if (step === undefined) return (low + high) / 2;
  throw new UnusableSchemaError("No number fits the bounds and multipleOf of the schema.");
}

function sampleString(schema: Schema, place: Place, sampler: Sampler): string {
  if (typeof schema.format === "string") {
    const formatted = formattedText(schema.format, varied(place, sampler) + place.position);
    if (formatted !== undefined) return formatted;
  }
  if (typeof schema.pattern === "string") {
    const matching = textForPattern(schema.pattern);
    if (matching !== undefined) return fitLength(matching, schema);
  }
  return plainText(schema, place, sampler);
}

/** Undefined for unknown formats. Different numbers `variant` give different values. */
function formattedText(format: string, variant: number): string | undefined {
  const two = (value: number) => String(value).padStart(2, "0");
  const date = `2025-${two((variant % 12) + 1)}-${two((variant % 28) + 1)}`;
  const time = `${two(variant % 24)}:${two((variant * 7) % 60)}:00Z`;
  const hex = (variant >>> 0).toString(16).padStart(8, "0").slice(-8);
  const formats: Record<string, string> = {
    date,
    time,
    "date-time": `${date}T${time}`,
    duration: `PT${(variant % 59) + 1}M`,
    email: `ada${variant % 1000}@example.com`,
    "idn-email": `ada${variant % 1000}@example.com`,
    hostname: `host${variant % 1000}.example.com`,
    ipv4: `192.0.2.${variant % 255}`,
    ipv6: `2001:db8::${(variant % 0xffff).toString(16)}`,
    uri: `https://example.com/${variant % 1000}`,
    url: `https://example.com/${variant % 1000}`,
    iri: `https://example.com/${variant % 1000}`,
    "uri-reference": `/${variant % 1000}`,
    uuid: `${hex}-0000-4000-8000-${hex.padStart(12, "0")}`,
  };
  return Object.hasOwn(formats, format) ? formats[format] : undefined;
}

/** A sentence or word that suits the property's name, within minLength and maxLength. */
function plainText(schema: Schema, place: Place, sampler: Sampler): string {
  const { hints } = sampler;
  const name = place.name.replace(/([a-z])([A-Z])/g, "$1_$2").toLowerCase();
  const words = new Set(name.split(/[^a-z]+/));
  const any = (...some: string[]) => some.some((word) => words.has(word));
  const nth = place.position === 0 ? "" : ` ${place.position + 1}`;
  const natural = (): string => {
    if (any("email", "mail")) return `ada${place.position || ""}@example.com`;
    if (any("url", "uri", "link", "href", "website")) return `https://example.com/${place.position || ""}`;
    if (any("id", "uuid", "key", "slug", "code")) return `sample-${(varied(place, sampler) % 9000) + 1000 + place.position}`;
    if (any("date", "day")) return formattedText("date", place.position) ?? "";
    if (any("time", "timestamp", "datetime")) return formattedText("date-time", place.position) ?? "";
    if (any("location", "city", "place", "destination", "town", "where")) return (hints.place ?? "Paris") + nth;
    if (any("country")) return `France${nth}`;
    if (any("phone", "tel", "mobile")) return `+1 555 010${place.position}`;
    if (any("name", "author", "person", "user")) return `Ada Lovelace${nth}`;
    if (any("currency")) return "EUR";
    if (any("unit", "units")) return "metric";
    if (any("language", "lang", "locale")) return "en";
    if (any("query", "question", "text", "topic", "title", "subject", "prompt", "input", "q", "search", "message")) {
      return hints.topic + nth;
    }
    return `${
      name
        .split(/[^a-z]+/)
        .filter(Boolean)
        .join(" ") || "sample"
    }${nth || " sample"}`;
  };
  return fitLength(natural(), schema);
}

function fitLength(text: string, schema: Schema): string {
  const least = count(schema.minLength) ?? 0;
  const most = count(schema.maxLength) ?? Infinity;
  if (least > most) throw new UnusableSchemaError("A text must be longer than its schema allows.");
  if (least > MAX_TEXT) throw new UnusableSchemaError("A text must be longer than 10000 characters.");
  // JSON schema counts code points.
  const points = Array.from(text);
  if (points.length > most) return points.slice(0, most).join("");
  return text + "x".repeat(Math.max(0, least - points.length));
}

function pickOne(values: unknown[], place: Place, sampler: Sampler): unknown {
  if (values.length === 0) throw new UnusableSchemaError("An enum is empty.");
  return values[(varied(place, sampler) + place.position) % values.length];
}

/** A whole number from the seed and the property's name. */
function varied(place: Place, sampler: Sampler): number {
  let hash = sampler.hints.seed >>> 0;
  for (let i = 0; i < place.name.length; i += 1) hash = (Math.imul(hash, 31) + place.name.charCodeAt(i)) >>> 0;
  return hash % 1_000_003;
}

function count(value: unknown): number | undefined {
  return typeof value === "number" && value >= 0 ? Math.ceil(value) : undefined;
}

function singular(name: string): string {
  return name.replace(/ies$/, "y").replace(/s$/, "");
}

function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
