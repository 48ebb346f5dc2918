/* Reading members of a request's body, and the errors about them in OpenAI's words. */

/** An answer with an error status, in OpenAI's envelope. */
export class ApiError extends Error {
  override name = "ApiError";
  readonly status: number;
  readonly type: string;
  readonly param: string | null;
  readonly code: string | null;

  constructor(status: number, message: string, about: { type?: string; param?: string; code?: string } = {}) {
    super(message);
    this.status = status;
    this.type = about.type ?? (status < 500 ? "invalid_request_error" : "server_error");
    this.param = about.param ?? null;
    this.code = about.code ?? null;
  }

  /** The body of the answer. */
  toJSON(): object {
    return { error: { message: this.message, type: this.type, param: this.param, code: this.code } };
  }
}

export function readBoolean(fields: Record<string, unknown>, name: string): boolean {
  const value = fields[name] ?? false;
  if (typeof value !== "boolean") throw wrongType(name, "a boolean", value);
  return value;
}

export function readInteger(fields: Record<string, unknown>, name: string, least = -Infinity, most = Infinity): number | undefined {
  const value = fields[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !Number.isInteger(value)) throw wrongType(name, "an integer", value);
  checkBounds(name, value, "integer", least, most);
  return value;
}

export function checkNumber(fields: Record<string, unknown>, name: string, least: number, most: number): void {
  const value = fields[name] ?? undefined;
  if (value === undefined) return;
  if (typeof value !== "number") throw wrongType(name, "a decimal", value);
  checkBounds(name, value, "decimal", least, most);
}

function checkBounds(name: string, value: number, kind: "integer" | "decimal", least: number, most: number): void {
  if (value >= least && value <= most) return;
  const [side, sign, bound] = value < least ? (["below_min", ">=", least] as const) : (["above_max", "<=", most] as const);
  throw new ApiError(
    400,
    `Invalid '${name}': ${kind} ${side.replace("_min", " minimum").replace("_max", " maximum")} value. Expected a value ${sign} ${bound}, but got ${value} instead.`,
    {
      param: name,
      code: `${kind}_${side}_value`,
    },
  );
}

export function missing(param: string): ApiError {
  return new ApiError(400, `Missing required parameter: '${param}'.`, { param, code: "missing_required_parameter" });
}

export function wrongType(param: string, expected: string, value: unknown): ApiError {
  return new ApiError(400, `Invalid type for '${param}': expected ${expected}, but got ${aOrAn(value)} instead.`, {
    param,
    code: "invalid_type",
  });
}

export function invalidValue(param: string, value: unknown, supported: readonly string[]): ApiError {
  const list = supported.map((one) => `'${one}'`).join(", ");
  const shown = typeof value === "string" ? `'${value.slice(0, 100)}'` : aOrAn(value);
  return new ApiError(400, `Invalid value: ${shown}. Supported values are: ${list}.`, { param, code: "invalid_value" });
}

/** The type of a value with its article, for error messages. */
export function aOrAn(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object") return "an object";
  return typeof value === "number" && Number.isInteger(value) ? "an integer" : `a ${typeof value}`;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
