/** Maps of what was used last, and no more. */

/** Sets `key` as the one that was used last, and forgets those that were not used for longest beyond `max` entries. */
export function keepRecent<K, V>(map: Map<K, V>, key: K, value: V, max: number): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= max) break;
    map.delete(oldest);
  }
}
