-- The Lua form of the expiry lock, as it is handed around: sets the key with a ttl, and gives one to
-- a key that has none, so that no lock stays for ever.
-- KEYS: the lock key. ARGV: value, ttl in milliseconds.
-- Answers 1 where the caller holds the lock (so it thinks), else 0.
if redis.call('SETNX', KEYS[1], ARGV[1]) == 1 then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
elseif redis.call('PTTL', KEYS[1]) == -1 then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
