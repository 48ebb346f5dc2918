/** The part of the package that Quota uses; it has no types of its own. */
declare module "fs-native-extensions" {
  /** Locks a file for as long as `fd` is open; false when another open file has it locked. Throws where the file system has no locks. */
  export function tryLock(fd: number): boolean;
}
