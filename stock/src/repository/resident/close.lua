-- Ends sales on a record (ARGV[2] 'close') or removes it ('remove'), if it is still of the epoch ARGV[1].
--
-- KEYS: the record's hash, the hash of its holds, the set of resident records
-- ARGV: epoch, what to do, the record's name in the set
-- Answers the sequence of its last change, or false.

local h = redis.call('HMGET', KEYS[1], 'epoch', 'sequence')
if h[1] ~= ARGV[1] then return false end
if ARGV[2] == 'close' then
  redis.call('HSET', KEYS[1], 'closing', '1')
else
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('SREM', KEYS[3], ARGV[3])
end
return h[2]
