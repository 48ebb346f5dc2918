declare global {
  var quotaProcessWide: Map<string, unknown> | undefined;
}

globalThis.quotaProcessWide ??= new Map();
const values = globalThis.quotaProcessWide;

/**
 * What there is once in a process, under a name that nothing else uses. The server, and
 * each route of Next, may load a file as a module of its own; a variable in it would then
 * be several. The first to ask makes the value.
 */
export function processWide<Value>(name: string, make: () => Value): Value {
  if (!values.has(name)) values.set(name, make());
  return values.get(name) as Value;
}
