declare global {
  var quotaProcessWide: Map<string, unknown> | undefined;
}

globalThis.quotaProcessWide ??= new Map();
const values = globalThis.quotaProcessWide;

/**
 * A value that exists once in a process, under a name that no other file uses. The server and each
 * route of Next may load a file as a module of its own, and a variable of the module would then
 * exist several times. The first call for a name makes the value.
 */
export function processWide<Value>(name: string, make: () => Value): Value {
  if (!values.has(name)) values.set(name, make());
  return values.get(name) as Value;
}
