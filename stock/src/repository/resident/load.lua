-- Puts a record here, only where what was seen is still what is there: nothing, or levels of an epoch that is over.
-- Its caller has the row locked in the database, and serves nothing before that has committed.
--
-- KEYS: the record's hash, the hash of its holds, the set of resident records
-- ARGV: the epoch that was seen or '', the record's name in the set, how many words make the hash, these words, and
-- the words that make its holds

if (redis.call('HGET', KEYS[1], 'epoch') or '') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
local words = tonumber(ARGV[3])
redis.call('HSET', KEYS[1], unpack(ARGV, 4, 3 + words))
for first = 4 + words, #ARGV, 1000 do
  redis.call('HSET', KEYS[2], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
redis.call('SADD', KEYS[3], ARGV[2])
return 1
